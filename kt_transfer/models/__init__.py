"""Builders of plain functional Keras models: autoencoders, classifiers, freezing."""
