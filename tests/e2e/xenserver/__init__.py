"""Real workers on the queue `configdrive.xenserver`, and the stand-in for XAPI."""
