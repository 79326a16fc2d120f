"""What all tests share."""

import signal

# Whoever runs the tests in the background of a shell has them ignore Ctrl-C, and so would the processes that they start
# to press it on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
