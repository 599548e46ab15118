"""The reference's acceptance cases, by id, over real sockets."""
