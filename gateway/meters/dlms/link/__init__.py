"""What carries APDUs between a meter and a client: frames, and the channels over them.

- `hdlc` `hdlc_link`   frames of HDLC, and a connection by them
- `wrapper`            the wrapper of TCP
- `mode_e`             the sign-on of an optical port, IEC 62056-21 mode E
- `mbus`               frames of wired M-Bus, by which meters push
- `scanner`            finds frames in a stream of bytes
- `channel`            a meter to exchange APDUs with
"""
