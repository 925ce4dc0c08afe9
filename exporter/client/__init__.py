"""The only package that opens sockets towards the systems that are watched."""
