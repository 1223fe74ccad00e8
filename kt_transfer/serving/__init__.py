"""SavedModels for TF Serving: written, versioned, and checked without Keras."""
