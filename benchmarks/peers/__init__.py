"""What vdb is compared with: one file a peer behind one interface, each in a virtual environment of its own."""
