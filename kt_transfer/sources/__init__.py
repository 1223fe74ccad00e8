"""What is transferred from: runs, Keras files, applications and teachers."""
