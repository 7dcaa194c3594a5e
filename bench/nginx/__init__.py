"""What the rendered nginx costs and keeps, measured on loopback: nothing leaves this machine.

.venv/bin/python -m bench.nginx.serving    cached answers at a steady rate
.venv/bin/python -m bench.nginx.hop        what a hop adds to each token of a stream
.venv/bin/python -m bench.nginx.reload     streams and requests while nginx reloads
.venv/bin/python -m bench.nginx.idle       CPU and memory of nginx that has nothing to do
"""
