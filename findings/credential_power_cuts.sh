#!/bin/sh
# systemd-creds of systemd 257.13 (Debian 13), a credential bound to a TPM and to no password: power cuts lock it. The
# object that it makes in the TPM has no attribute noDA, so the TPM guards it against guessing although it has an empty
# authorization and a policy; and a TPM counts each restart without an orderly shutdown after such an object was used as
# a wrong guess (TPM 2.0 Library, part 1, "Dictionary Attack Protection"). At the TPM's maxTries, which is 3 for swtpm
# 0.7.1, `systemd-creds decrypt` and with it a unit's LoadCredentialEncrypted= fail, though nobody ever guessed anything.
# It is over after the TPM's recovery time, or by `tpm2_dictionarylockout --clear-lockout`. Output:
#
#     after 3 power cuts: Failed to unseal secret using TPM2: No locks available
#
# Needs root and mmdebstrap. Exits with 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/*$' | head -1)}
mmdebstrap --quiet --variant=apt --include=systemd=257.13-1~deb13u1,swtpm=0.7.1-1.5,libtss2-esys-3.0.2-0t64,libtss2-rc0t64,libtss2-mu-4.0.1-0t64,libtss2-tcti-swtpm0t64 \
    trixie "$folder/root" "$mirror" >"$folder/log" 2>&1 || { cat "$folder/log" >&2 && exit 1; }
cat >"$folder/root/cuts.sh" <<'CUTS'
set -eu
cd "$(mktemp -d)"
mkdir state
tpm=swtpm:path=$PWD/socket
power_on() {
    swtpm socket --tpm2 --tpmstate dir=state --server type=unixio,path=socket --ctrl type=unixio,path=socket.ctrl \
        --flags startup-clear >/dev/null 2>&1 &
    until [ -S socket ] && [ -S socket.ctrl ]; do sleep 0.1; done
}
power_cut() { # without an orderly shutdown of the TPM
    kill -9 $!
    wait $! 2>/dev/null || true
    rm -f socket socket.ctrl
}
power_on
printf secret | systemd-creds encrypt --with-key=tpm2 --tpm2-device="$tpm" --tpm2-pcrs=14 --name=key - key.cred 2>/dev/null
power_cut
cuts=1
while power_on && systemd-creds decrypt --tpm2-device="$tpm" --name=key key.cred - >/dev/null 2>said; do
    power_cut
    cuts=$((cuts + 1))
    [ "$cuts" -le 9 ]
done
power_cut
echo "after $cuts power cuts: $(tail -1 said)"
[ "$cuts" -eq 3 ]
grep -q "No locks available" said
CUTS
chroot "$folder/root" sh /cuts.sh
