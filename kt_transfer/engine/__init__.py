"""How the steps of a Keras model are executed."""
