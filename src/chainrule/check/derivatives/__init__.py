"""How a derivative is judged: how the code is called, what it returns, whether it is right, and the likely cause."""
