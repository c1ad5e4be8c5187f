"""What several plugins need and Python does not have in this form. Import only what you use: nothing here is imported by `stavily`.

    bounded   regular expressions under a time limit
    dbus      a client of D-Bus
    delivery  a body over HTTP, again and again until it is taken
    places    directories that nobody can redirect
    program   a program, run to its end or the end of its time
    web       one HTTP exchange
"""
