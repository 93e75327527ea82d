#!/usr/bin/env bash
# EMR step, on the primary node: puts the notebook kernel into JupyterHub's container, which does not exist yet when bootstrap actions run.
# May run again at any time.
#
#   jupyterhub.sh SECRET s3://BUCKET/jupyter      the secret with the password of JupyterHub's user jovyan; where notebooks are kept
#
# It needs what node.sh put at /opt/fruits.
set -euo pipefail
say() { printf 'fruits: %s\n' "$*"; }
die() {
    printf 'fruits: error: %s\n' "$*" >&2
    exit 1
}
[ $# = 2 ] || die "usage: jupyterhub.sh SECRET s3://BUCKET/jupyter"
secret=$1 notebooks=$2 fruits=/opt/fruits admin=jovyan
hub() { docker exec -i jupyterhub "$@"; }

for ((waited = 0; ; waited += 5)); do
    if hub true 2>/dev/null; then break; fi
    ((waited < 600)) || die "there is no container jupyterhub after 10 minutes; is JupyterHub among the cluster's applications?"
    sleep 5
done

# EMR's own password is known to everybody. The new one is on no command line, in no file and in no log.
password=$(aws secretsmanager get-secret-value --region "$(cut -d: -f4 <<<"$secret")" \
    --secret-id "$secret" --query SecretString --output text) || die "cannot read the secret $secret"
printf '%s:%s\n' "$admin" "$password" | hub chpasswd
say "the password of $admin is the secret's"

if [ "$(hub cat $fruits/sha256 2>/dev/null)" = "$(cat $fruits/sha256)" ]; then
    say "the kernel is in the container already"
else
    tar -C $fruits -cf - . | hub sh -c "rm -rf $fruits.part && mkdir -p $fruits.part && tar -xf - -C $fruits.part"
    # The container's Python stands before cargo for the notebook's cells.
    hub sh -c "python=\$(PATH=/opt/conda/bin:\$PATH command -v python3) && sed -i \"1s|.*|#!\$python -IS|\" $fruits.part/kit/bin/cargo &&
        rm -rf $fruits && mv $fruits.part $fruits"
fi
hub sh -c 'mkdir -p /usr/local/share/jupyter/kernels && cp -r /opt/fruits/kernelspec /usr/local/share/jupyter/kernels/fruits.part &&
    rm -rf /usr/local/share/jupyter/kernels/fruits && mv /usr/local/share/jupyter/kernels/fruits.part /usr/local/share/jupyter/kernels/fruits'
hub sh -c "PATH=/opt/conda/bin:\$PATH exec python3 $fruits/emr/check_kernel.py" || die "the kernel does not answer in the container"

# Notebooks that are there stay: they may have been worked on.
for notebook in "$fruits"/notebooks/*; do
    place=$notebooks/$admin/$(basename "$notebook")
    if ! aws s3 ls "$place" >/dev/null; then aws s3 cp --only-show-errors "$notebook" "$place"; fi
done
say "notebooks: $notebooks/$admin"

cat >/etc/systemd/system/fruits-awake.service <<EOF
[Unit]
Description=Keeps the cluster from ending itself while a notebook computes

[Service]
ExecStart=$fruits/emr/awake.sh
Restart=always

[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable --now fruits-awake
say "JupyterHub has the kernel, after $SECONDS s"
