"""Every object that is stored or sent: its CDDL (gw1.cddl), its encoding, its signature check.

gateway/PROTOCOL.md is the specification, and tests/wire/test_protocol.py holds it and this room together.
The only room that knows CBOR and COSE. What it decodes is checked, the signature first and then the form;
what fails is Refused with a sentence that names the object. In reading order:

- `es256`    signatures as COSE wants them, and public keys
- `cose`     deterministic CBOR, and COSE_Sign1 with ES256
- `form`     the form of a payload, field by field
- `names`    where objects lie in a bucket
- `signed`   what all signed objects share, and that a stored one lies under its own key
- `stream`   descriptor, chunk, head, page
- `grant`    a grant and its body, token bundles, the revocation
- `tariff`   the tariff of a bill
- `card`     the public keys of a gateway, a provider or a registrar
- `certificate`  what a registrar signs: certificates of cards, and revocations
- `request`  a login at a registrar, and a provider's request for a grant
- `evidence` what a provider claims, with what proves it
- `prices`   a provider's price series
- `command`  a provider's command to a gateway, and the gateway's receipts
- `approval` the approval of a release, whose signatures a TPM checks
- `kinds`    the kind of object that lies at a key
"""
