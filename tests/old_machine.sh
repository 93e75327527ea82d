#!/usr/bin/env bash
# A machine as EMR's nodes and JupyterHub's container are, as a folder to chroot into: Debian 11 (glibc 2.31) with Python, the AWS command
# line and JupyterHub 1.4.1, and no compiler. Prints the folder. Needs root.
source "$(dirname "${BASH_SOURCE[0]}")/../bootstrap/env.sh" >&2

machine=$FRUITS_CACHE/old-machine
wanted=$REPO/tests/old_machine.txt
stamp=$(cat "$wanted" "${BASH_SOURCE[0]}" | sha256sum)
if [ "$(cat "$machine/stamp" 2>/dev/null)" != "$stamp" ]; then
    {
        system_package debootstrap debootstrap
        need debootstrap "install your system's debootstrap package"
        say "Debian 11 into $machine"
        rm -rf "$machine"
        # From where this machine has its packages, if it is a Debian.
        # shellcheck disable=SC2016 # apt's variable
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n1 || true)
        debootstrap --variant=minbase --include=python3,ca-certificates bullseye "$machine" ${mirror:+"$mirror"}
        python3 -m pip install "${quiet[@]}" --disable-pip-version-check --no-deps --require-hashes --requirement "$wanted" \
            --target "$machine/usr/local/lib/python3.9/dist-packages" --python-version 3.9.2 --only-binary=:all: \
            --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64
        cp -a "$machine/usr/local/lib/python3.9/dist-packages/"{etc,share} "$machine/usr/local/" # with --target they are not where programs look
        printf '#!/usr/bin/python3\nfrom awscli.clidriver import main\nraise SystemExit(main())\n' >"$machine/usr/local/bin/aws"
        chmod +x "$machine/usr/local/bin/aws"
        echo "$stamp" >"$machine/stamp"
    } >&2
fi
echo "$machine"
