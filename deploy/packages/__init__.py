"""The packages of the fleet: wheel, source archive and Debian package, and the client's own wheel (`make packages`)."""
