"""What is said over the control socket, by which everything that is not the daemon asks it.

- `client`   asks the running gateway
"""
