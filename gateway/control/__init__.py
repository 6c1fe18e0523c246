"""What is said over the control socket, by which everything that is not the daemon asks it.

- `documents`   requests and answers
- `client`      asks the running gateway
"""
