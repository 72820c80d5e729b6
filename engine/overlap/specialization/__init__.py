"""What two variants are confident about, and the classes on which one of them is better."""
