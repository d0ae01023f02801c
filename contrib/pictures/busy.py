"""A program with connections: python3 busy.py HOST... reads from each of them for a minute."""
import socket, sys, threading, time

def read(host):
    s = socket.create_connection((host, 443))
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    while s.recv(65536):
        pass

for host in sys.argv[1:]:
    threading.Thread(target=read, args=(host,), daemon=True).start()
time.sleep(60)
