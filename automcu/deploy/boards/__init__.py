"""Boards that run an image: virtual, emulated, wired up, or this host. All speak one protocol behind one seam."""
