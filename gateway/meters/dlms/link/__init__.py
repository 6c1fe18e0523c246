"""The link layer, which carries APDUs between a meter and a client: frames, and channels over them.

- `hdlc` `hdlc_link`   HDLC frames, and the link between two stations
- `wrapper`            the TCP wrapper
- `mode_e`             the sign-on of an optical port, IEC 62056-21 mode E
- `mbus`               frames of wired M-Bus, over which meters push
- `scanner`            finds frames in a stream of bytes
- `channel`            an exchange of APDUs with a meter
"""
