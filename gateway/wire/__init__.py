"""Every object that is stored or sent: its CDDL (gw1.cddl), its encoding, its signature check.

The only room that knows CBOR and COSE. What it decodes is checked: signature first, then form;
whatever fails is Refused with a sentence that names the object.
"""
