#!/usr/bin/env bash
# EMR bootstrap action, for every node: puts the bundle at /opt/fruits. Nothing is compiled; nothing happens if it is there already.
#
#   node.sh s3://BUCKET/fruits/BUNDLE SHA256      the folder that bundle.sh made; the hash of fruits.tar.gz in it
set -euo pipefail
say() { printf 'fruits: %s\n' "$*"; }
die() {
    printf 'fruits: error: %s\n' "$*" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || exec sudo bash "$0" "$@"
[ $# = 2 ] || die "usage: node.sh s3://BUCKET/fruits/BUNDLE SHA256"
source=$1/fruits.tar.gz sha256=$2 target=/opt/fruits

if [ "$(cat $target/sha256 2>/dev/null)" = "$sha256" ]; then
    say "$target is there already"
    exit
fi
download=$(mktemp -d)
trap 'rm -rf "$download" $target.part' EXIT
say "fetching $source"
aws s3 cp --only-show-errors "$source" "$download/fruits.tar.gz" || die "cannot fetch $source"
echo "$sha256  $download/fruits.tar.gz" | sha256sum --check --status || die "$source is damaged: its SHA-256 is not $sha256"

say "unpacking to $target"
rm -rf $target.part
mkdir -p $target.part
tar -xzf "$download/fruits.tar.gz" -C $target.part --no-same-owner
echo "$sha256" >$target.part/sha256
rm -rf $target
mv $target.part $target
ln -sfn $target/bin/fruits /usr/local/bin/fruits
# People come in through Session Manager. Without its agent, the node is still of use.
command -v amazon-ssm-agent >/dev/null || yum install -y -q amazon-ssm-agent || say "there is no Session Manager here: cluster.sh connect will not work"
say "$(fruits --version) is at $target, after $SECONDS s"
