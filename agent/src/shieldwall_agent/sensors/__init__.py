"""What is seen on the endpoint: for each sensor, the first mechanism of a chain that proves itself."""
