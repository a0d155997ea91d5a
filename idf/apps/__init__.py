"""What people use beside the notebooks: photos of their own, and the explorer."""
