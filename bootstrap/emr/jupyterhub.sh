#!/usr/bin/env bash
# EMR step, on the primary node: puts the notebook kernel into JupyterHub's container, which does not exist yet when bootstrap actions run,
# and has systemd do so again whenever that container starts, for it may be a new one. May run again at any time.
#
#   jupyterhub.sh SECRET s3://BUCKET/jupyter      the secret with the password of JupyterHub's user jovyan; where notebooks are kept
#   jupyterhub.sh SECRET                          what systemd runs: fills the container that is there, then each that starts
#
# It needs what node.sh put at /opt/fruits.
set -euo pipefail
say() { printf 'fruits: %s\n' "$*"; }
die() {
    printf 'fruits: error: %s\n' "$*" >&2
    exit 1
}
[ $# = 1 ] || [ $# = 2 ] || die "usage: jupyterhub.sh SECRET [s3://BUCKET/jupyter]"
secret=$1 notebooks=${2:-} fruits=/opt/fruits kernels=/usr/local/share/jupyter/kernels admin=jovyan
hub() { docker exec -i jupyterhub "$@"; }
set_password() { printf '%s:%s\n' "$admin" "$password" | hub chpasswd; }

# Password and kernel, by one at a time: the step and systemd may both be at it.
fill() (
    # EMR's own password is known to everybody. The new one is on no command line, in no file and in no log. It is at hand before the
    # container is there, and goes in before all else.
    password=$(aws secretsmanager get-secret-value --region "$(cut -d: -f4 <<<"$secret")" \
        --secret-id "$secret" --query SecretString --output text) || die "cannot read the secret $secret"
    for ((waited = 0; ; waited++)); do
        if hub true 2>/dev/null; then break; fi
        ((waited < 600)) || die "there is no container jupyterhub after 10 minutes; is JupyterHub among the cluster's applications?"
        sleep 1
    done
    flock 9
    set_password
    say "the password of $admin is the secret's"

    if [ "$(hub cat $fruits/sha256 2>/dev/null)" = "$(cat $fruits/sha256)" ]; then
        say "the kernel is in the container already"
    else
        tar -C $fruits -cf - . | hub sh -c "rm -rf $fruits.part && mkdir -p $fruits.part && tar -xf - -C $fruits.part"
        # The container's Python stands before cargo for the notebook's cells.
        hub sh -c "python=\$(PATH=/opt/conda/bin:\$PATH command -v python3) && sed -i \"1s|.*|#!\$python -IS|\" $fruits.part/kit/bin/cargo &&
            rm -rf $fruits && mv $fruits.part $fruits"
    fi
    hub sh -c "mkdir -p $kernels && rm -rf $kernels/fruits.part && cp -r $fruits/kernelspec $kernels/fruits.part &&
        rm -rf $kernels/fruits && mv $kernels/fruits.part $kernels/fruits &&
        $fruits/nbconvert/install.sh /usr/local/share/jupyter /usr/local/etc/jupyter"
    # Once more: what a container does as it starts may have set EMR's after ours.
    set_password
    say "the container has password and kernel"
) 9<"$0"

if [ -z "$notebooks" ]; then
    # First the container that is there: what happened before, no event tells. The end of one counts too, so that the password is at hand
    # when the next starts. Events end with docker; systemd then starts this anew. What runs in the container must not read them.
    while read -r _; do
        fill </dev/null
    done < <(
        echo
        exec docker events --since "$(date +%s)" --filter container=jupyterhub --filter event=start --filter event=die
    )
    exit
fi

cat >/etc/systemd/system/fruits-awake.service <<EOF
[Unit]
Description=Keeps the cluster from ending itself while a notebook computes

[Service]
ExecStart=$fruits/emr/awake.sh
Restart=always

[Install]
WantedBy=multi-user.target
EOF
# Started more than five times in ten seconds, systemd would give it up: hence the rest before each.
cat >/etc/systemd/system/fruits-hub.service <<EOF
[Unit]
Description=Puts password and kernel into JupyterHub's container whenever it starts

[Service]
ExecStart=$fruits/emr/jupyterhub.sh $secret
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
EOF
# Now, not at the end: should this step fail, EMR's password does not stay. One that runs already may have another secret.
systemctl daemon-reload
systemctl enable --now fruits-awake
systemctl enable fruits-hub
systemctl restart fruits-hub

fill
# Here alone, for a kernel that computes keeps the cluster from ending itself.
hub sh -c "PATH=/opt/conda/bin:\$PATH exec python3 $fruits/emr/check_kernel.py" || die "the kernel does not answer in the container"

# Notebooks that are there stay: they may have been worked on.
for notebook in "$fruits"/notebooks/*; do
    place=$notebooks/$admin/$(basename "$notebook")
    if ! aws s3 ls "$place" >/dev/null; then aws s3 cp --only-show-errors "$notebook" "$place"; fi
done
say "notebooks: $notebooks/$admin"
say "JupyterHub has the kernel, after $SECONDS s"
