#!/usr/bin/env bash
# A cluster on AWS EMR with JupyterHub and the kernel "Rust (fruits)". What it costs, who may do what: bootstrap/emr/README.md.
#
#   bootstrap/cluster.sh up [--yes] [--bundle FOLDER]   shows what it would do; with --yes does it. FOLDER: what bundle.sh made
#   bootstrap/cluster.sh connect [--password]           JupyterHub on https://127.0.0.1:9443 until Ctrl-C; shows the password, if asked
#   bootstrap/cluster.sh status                         what runs, since when, and what it has cost
#   bootstrap/cluster.sh down [--everything] [--yes]    ends the cluster and keeps the data, or removes all with the data, after a question
#
# AWS_REGION             one of bootstrap/emr/regions.csv;  default: eu-west-3
# FRUITS_STACK           the name of the stack;             default: fruits
# FRUITS_RELEASE, FRUITS_INSTANCE_TYPE, FRUITS_MAX_NODES, FRUITS_SSH_CIDR, FRUITS_KEY_NAME
#                        parameters of bootstrap/emr/template.yaml; default: what the stack has, or the template's
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
umask 077 # private keys and the password pass through here
export AWS_PAGER='' AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true # another S3, where photos may be, is not where the stack is

usage() {
    sed -n 's/^#   bootstrap/  bootstrap/p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

command=${1:-}
[ $# -eq 0 ] || shift
yes='' everything='' password='' bundle=''
while [ $# -gt 0 ]; do
    case $command:$1 in
    up:--yes | down:--yes) yes=1 ;;
    up:--bundle)
        [ -n "${2:-}" ] || usage
        bundle=$2
        shift
        ;;
    connect:--password) password=1 ;;
    down:--everything) everything=1 ;;
    *) usage ;;
    esac
    shift
done
[[ $command =~ ^(up|connect|status|down)$ ]] || usage

region=${AWS_REGION:-eu-west-3}
stack=${FRUITS_STACK:-fruits}
regions=$REPO/bootstrap/emr/regions.csv
template=$REPO/bootstrap/emr/template.yaml
place=$(awk -F, -v region="$region" '$1 == region { print $2 ", " $3 }' "$regions")
[ -n "$place" ] ||
    die "$region is not one of the regions in bootstrap/emr/regions.csv: $(sed 1d "$regions" | cut -d, -f1 | paste -sd' ')"
# Names of buckets begin with it: lower case, and short.
[[ $stack =~ ^[a-z][a-z0-9-]{0,29}$ ]] || die "FRUITS_STACK is a name of lower-case letters, digits and dashes, at most 30: $stack is not"

AWS=$(command -v aws) || { steps base && venv emr "$REPO/bootstrap/emr/requirements.txt" && AWS=$VENV/bin/aws; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Calls AWS; what it says on standard error is kept.
ask() {
    local endpoint=()
    [ -z "${AWS_ENDPOINT_URL:-}" ] || endpoint=(--endpoint-url "$AWS_ENDPOINT_URL") # `aws emr` does not read the variable
    "$AWS" --region "$region" "${endpoint[@]}" "$@" 2>"$scratch/error"
}

# Calls AWS; what goes wrong ends the script with a sentence that says what to do.
aws() {
    ask "$@" || explain
}

explain() {
    local error
    error=$(grep -v '^$' "$scratch/error" | tail -1)
    case $error in
    *Expired* | *expired*) die "the AWS credentials have expired: log in again, for instance with 'aws sso login'" ;;
    *"locate credentials"*) die "there are no AWS credentials: 'aws configure' or 'aws sso login' brings them" ;;
    *InvalidClientTokenId* | *SignatureDoesNotMatch* | *UnrecognizedClient* | *AuthFailure* | *InvalidAccessKeyId*)
        die "AWS does not know these credentials: see 'aws configure list'" ;;
    *AccessDenied* | *UnauthorizedOperation* | *Forbidden*)
        die "AWS does not allow it; members of the group Engineers may, but the first 'up' is an administrator's. It says: $error" ;;
    *NoSuchBucket*) die "a bucket of the stack $stack is gone: 'down --everything' removes the rest, then 'up' begins anew" ;;
    *"connect to the endpoint"* | *"Connection was closed"* | *timeout*) die "no answer from AWS in $region: is there a network? $error" ;;
    *describe-stack-events*) die "CloudFormation could not do it, and has taken back what it did; why: $error" ;;
    *) die "AWS says: ${error:-nothing}" ;;
    esac
}

# Sets what is known of the stack; `state` is none if there is none, and a value that is not there is None.
look() {
    local facts name query="Stacks[0].[StackStatus"
    for name in Running Release InstanceType MaxNodes; do query+=", Parameters[?ParameterKey=='$name'] | [0].ParameterValue"; done
    for name in DataBucket HubPassword ClusterId; do query+=", Outputs[?OutputKey=='$name'] | [0].OutputValue"; done
    if facts=$(ask cloudformation describe-stacks --stack-name "$stack" --output text --query "$query]"); then
        IFS=$'\t' read -r state running release type nodes data secret cluster <<<"$facts"
    else
        grep -q "does not exist" "$scratch/error" || explain
        state=none
    fi
    [ "$state" != REVIEW_IN_PROGRESS ] || state=none # a stack that was thought of, and never made
    [ "$state" != none ] || running=no release=None type=None nodes=None data=None secret=None cluster=None
    cluster_state=none
    [ "$cluster" = None ] || cluster_state=$(aws emr describe-cluster --cluster-id "$cluster" --output text --query Cluster.Status.State)
}

# Makes the stack be as the template and the parameters say. Nothing happens if it is.
deploy() { # [--no-execute-changeset] PARAMETER=VALUE...
    local options=() parameters=() pair name
    if [ "$1" = --no-execute-changeset ]; then
        options+=("$1")
        shift
    fi
    for pair in Release:FRUITS_RELEASE InstanceType:FRUITS_INSTANCE_TYPE MaxNodes:FRUITS_MAX_NODES SshCidr:FRUITS_SSH_CIDR \
        KeyName:FRUITS_KEY_NAME; do
        name=${pair#*:}
        [ -z "${!name+set}" ] || parameters+=("${pair%:*}=${!name}")
    done
    aws cloudformation deploy --stack-name "$stack" --template-file "$template" --capabilities CAPABILITY_IAM \
        --no-fail-on-empty-changeset "${options[@]}" --parameter-overrides "$@" "${parameters[@]}"
}

# What a parameter of the template will be: what the environment says, or the stack, or the template.
parameter() { # NAME ENVIRONMENT STACK
    local value=${2:-$3}
    [ "$value" != None ] || value=$(sed -n "/^  $1:/,/Default:/s/^    Default: //p" "$template")
    printf '%s' "$value"
}

# USD an hour, about: what EMR adds to a node, and the network's five endpoints.
emr=0.05 endpoints=0.06

# What an hour of a node costs at EC2, on demand; nothing for a type or a region that the table has no price for.
price() {
    local column
    case $type in
    m5.xlarge) column=5 ;;
    m7i.xlarge) column=8 ;;
    *) return ;;
    esac
    awk -F, -v region="$region" -v column="$column" '$1 == region { print $column }' "$regions"
}

up() {
    local name='' sha256='' file node_price listed
    look
    case $state in
    *_IN_PROGRESS) die "the stack $stack is being changed ($state): wait, and see 'status'" ;;
    ROLLBACK_COMPLETE | *_FAILED)
        die "the stack $stack could not be made ($state): its events in CloudFormation say why, 'down --everything' removes it" ;;
    esac

    if [ -z "$bundle" ] && [ -n "$yes" ]; then bundle=$("$REPO/bootstrap/bundle.sh" | tee >(cat >&2) | tail -1); fi
    if [ -n "$bundle" ]; then
        name=$(basename "$bundle")
        [[ $name =~ ^[0-9a-f]{16}$ ]] || die "$bundle is not a bundle: its name is to be 16 hexadecimal digits"
        for file in fruits.tar.gz node.sh manifest.json; do [ -f "$bundle/$file" ] || die "$bundle is not a bundle: $file is missing"; done
        sha256=$(sha256sum "$bundle/fruits.tar.gz" | cut -d' ' -f1)
        if [[ $(sha256sum "$bundle/manifest.json") != "$name"* ]] || ! grep -q "$sha256" "$bundle/manifest.json"; then
            die "$bundle is damaged: bootstrap/bundle.sh makes it anew"
        fi
    fi
    release=$(parameter Release "${FRUITS_RELEASE:-}" "$release")
    type=$(parameter InstanceType "${FRUITS_INSTANCE_TYPE:-}" "$type")
    nodes=$(parameter MaxNodes "${FRUITS_MAX_NODES:-}" "$nodes")
    [[ $nodes =~ ^[0-9]+$ ]] || die "FRUITS_MAX_NODES is to be a number: $nodes is not"
    node_price=$(price)

    say "stack $stack in $region ($place), now: $state, cluster: $cluster_state"
    say "bundle ${name:-to be built by bootstrap/bundle.sh}${bundle:+, $(du -h "$bundle/fruits.tar.gz" | cut -f1)}"
    say "$release on $type: 1 primary, 1 core and up to $((nodes - 1)) spot nodes; ends itself after 90 minutes of rest"
    if [ -n "$node_price" ]; then
        say "$(awk -v p="$node_price" -v e="$emr" -v f="$endpoints" -v n="$nodes" \
            'BEGIN { printf "%.2f USD an hour at rest, at most %.2f", 2 * (p + e) + f, (1 + n) * (p + e) + f }')" \
            "(a node $node_price on demand and $emr for EMR, endpoints $endpoints: see bootstrap/emr/README.md)"
    else
        say "no price known for $type in $region"
    fi
    case $type-$release in
    m5.xlarge-emr-7.*)
        [ -z "$(type=m7i.xlarge price)" ] ||
            say "FRUITS_INSTANCE_TYPE=m7i.xlarge with --precision bf16: a photo may cost about half, see bootstrap/emr/README.md"
        ;;
    m7i.*-emr-6.*) say "$release has a Linux without AMX, so bf16 is not as fast on $type as it could be: emr-7 has it" ;;
    esac

    if [ -z "$yes" ]; then
        plan "$name" "$sha256"
        say "nothing was done; --yes does it"
        return
    fi

    listed=$(prefix_list)
    if [ "$state" = none ]; then
        say "the stack, without a cluster"
        deploy Running=no S3PrefixList="$listed"
        look
    elif [[ $running = yes && $cluster_state = TERMINAT* ]]; then
        say "the last cluster has ended by itself: removing what is left of it"
        deploy Running=no
        look
    fi
    upload "$name"
    if [ "$running" != yes ]; then
        certificates
        say "the cluster: this takes about ten minutes"
    fi
    deploy Running=yes S3PrefixList="$listed" Bundle="$name" BundleSha256="$sha256"
    look
    say "cluster $cluster ($cluster_state)"
    say_data
    say "bootstrap/cluster.sh connect opens JupyterHub; bootstrap/cluster.sh down ends the cost"
}

# What CloudFormation would do: asked of CloudFormation itself, and taken back.
plan() { # BUNDLE SHA256
    local out change
    if [ "$state" = none ]; then
        say "would make the stack ($(grep -c '^    Type: AWS::' "$template") resources at most), upload the bundle and start the cluster"
        return
    fi
    out=$(deploy --no-execute-changeset Running=yes S3PrefixList="$(prefix_list)" ${1:+Bundle="$1" BundleSha256="$2"})
    change=$(grep -o 'arn:[^ ]*:changeSet/[^ ]*' <<<"$out" || true)
    if [ -z "$change" ]; then
        say "no change"
        return
    fi
    say "would change"
    aws cloudformation describe-change-set --change-set-name "$change" --output text \
        --query 'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]'
    aws cloudformation delete-change-set --change-set-name "$change"
}

prefix_list() {
    local list
    list=$(aws ec2 describe-managed-prefix-lists --filters "Name=prefix-list-name,Values=com.amazonaws.$region.s3" --output text \
        --query 'PrefixLists[0].PrefixListId')
    [[ $list = pl-* ]] || die "$region has no prefix list of S3"
    printf '%s' "$list"
}

# The bundle to the bucket, the manifest last: a folder with a manifest is whole.
upload() { # BUNDLE
    local there
    # Listed, not read: nobody may read this prefix but the nodes.
    there=$(aws s3api list-objects-v2 --bucket "$data" --prefix "fruits/$1/manifest.json" --output text --query 'Contents[0].Key')
    if [ "$there" != None ]; then
        say "bundle $1 is in s3://$data already"
        return
    fi
    say "bundle $1 to s3://$data"
    aws s3 cp --no-progress --recursive --exclude manifest.json "$bundle" "s3://$data/fruits/$1"
    aws s3 cp --no-progress "$bundle/manifest.json" "s3://$data/fruits/$1/manifest.json"
}

# EMR encrypts what nodes say to each other with a certificate that we bring: signed by itself, for one cluster, good for a year.
certificates() {
    need openssl "install your system's openssl package"
    say "a certificate for the nodes"
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=*.$region.compute.internal" \
        -addext "subjectAltName=DNS:*.$region.compute.internal" \
        -keyout "$scratch/privateKey.pem" -out "$scratch/certificateChain.pem" 2>"$scratch/error" || die "openssl: $(cat "$scratch/error")"
    cp "$scratch/certificateChain.pem" "$scratch/trustedCertificates.pem"
    python3 -m zipfile -c "$scratch/certificates.zip" "$scratch"/{privateKey,certificateChain,trustedCertificates}.pem
    aws s3 cp --no-progress "$scratch/certificates.zip" "s3://$data/fruits/certificates.zip"
}

connect() {
    local primary
    look
    [ "$running" = yes ] || die "there is no cluster: 'up --yes' starts one"
    [[ $cluster_state != TERMINAT* ]] || die "the cluster has ended ($cluster_state): 'up --yes' starts another"
    if [ -n "$password" ]; then
        say "user jovyan, password $(aws secretsmanager get-secret-value --secret-id "$secret" --output text --query SecretString)"
    else
        say "user jovyan; the password: bootstrap/cluster.sh connect --password, or"
        echo "aws --region $region secretsmanager get-secret-value --secret-id $secret --output text --query SecretString"
    fi
    command -v session-manager-plugin >/dev/null ||
        die "session-manager-plugin is needed, for connections without an open port: AWS calls it 'Session Manager plugin for the AWS CLI'"
    primary=$(aws emr list-instances --cluster-id "$cluster" --instance-group-types MASTER --instance-states RUNNING --output text \
        --query 'Instances[0].Ec2InstanceId')
    [[ $primary = i-* ]] || die "the primary node is not there yet: see 'status'"
    say "https://127.0.0.1:9443, with a certificate that browsers do not know; Ctrl-C ends the connection"
    ask ssm start-session --target "$primary" --document-name AWS-StartPortForwardingSession \
        --parameters portNumber=9443,localPortNumber=9443 || explain
}

# Where photos and results are, and what notebook 03 takes.
say_data() {
    say "photos: aws s3 sync PHOTOS s3://$data/Test, then in notebook 03:"
    printf 'let %s_location = "s3://%s/%s".to_string();\n' photos "$data" Test results "$data" Results
}

status() {
    look
    say "stack $stack in $region ($place): $state"
    [ "$data" = None ] || say_data
    [ "$cluster" != None ] || { say "no cluster, nothing that costs by the hour" && return; }
    say "cluster $cluster: $cluster_state"
    aws emr list-instances --cluster-id "$cluster" --output json >"$scratch/nodes"
    python3 - "$scratch/nodes" "$(price)" "$emr" <<'PYTHON'
import datetime, json, sys

def when(value):  # the two versions of the command line write times in two ways
    return datetime.datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value

hours = 0
for node in json.load(open(sys.argv[1]))["Instances"]:
    times, state = node["Status"]["Timeline"], node["Status"]["State"]
    begin = when(times.get("CreationDateTime") or times["ReadyDateTime"])
    hours += (when(times.get("EndDateTime", datetime.datetime.now().timestamp())) - begin) / 3600
    print(f"{node['Ec2InstanceId']}  {node.get('InstanceType', '')}  {node.get('Market', '')}  {state}")
cost = f", at most {hours * (float(sys.argv[2]) + float(sys.argv[3])):.2f} USD without endpoints" if sys.argv[2] else ""
print(f"== {hours:.1f} hours of nodes so far{cost}")
PYTHON
    aws emr list-steps --cluster-id "$cluster" --output text --query 'Steps[].[Name, Status.State]' | sed 's/^/== step: /'
    [[ $cluster_state != TERMINATED* ]] ||
        say "the cluster has ended, its five network endpoints go on costing about $endpoints USD an hour: 'down' removes them"
}

# Buckets that this stack made: by name, and by the tag that says so.
buckets() {
    local bucket owner
    for bucket in $(aws s3api list-buckets --output text --query 'Buckets[].Name'); do
        [[ $bucket = "$stack"-databucket-* || $bucket = "$stack"-logsbucket-* ]] || continue
        owner=$(aws s3api get-bucket-tagging --bucket "$bucket" --output text --query "TagSet[?Key=='fruits'] | [0].Value")
        [ "$owner" != "$stack" ] || echo "$bucket"
    done
}

down() {
    local bucket found answer refused
    look
    if [ -z "$everything" ]; then
        if [ "$running" != yes ]; then
            say "no cluster in the stack $stack ($state), nothing that costs by the hour"
            return
        fi
        say "ending the cluster $cluster"
        deploy Running=no
        say "the data is in s3://$data; 'up --yes' starts another cluster, 'down --everything' removes the data too"
        return
    fi

    found=$(buckets)
    [ "$state" != none ] || [ -n "$found" ] || { say "there is no stack $stack in $region, and none of its buckets" && return; }
    say "removes the stack $stack in $region, and for good, with all old versions: ${found//$'\n'/ }"
    if [ -z "$yes" ]; then
        read -r -p "The stack's name, to go on: " answer || true
        [ "$answer" = "$stack" ] || die "nothing was removed"
    fi
    if [ "$state" != none ]; then
        aws cloudformation delete-stack --stack-name "$stack"
        aws cloudformation wait stack-delete-complete --stack-name "$stack"
    fi
    for bucket in $found; do
        say "emptying $bucket"
        while aws s3api list-object-versions --bucket "$bucket" --no-paginate --max-keys 1000 --output json \
            --query '{Objects: [Versions, DeleteMarkers][].{Key: Key, VersionId: VersionId}}' >"$scratch/versions" &&
            grep -q '"Key"' "$scratch/versions"; do
            refused=$(aws s3api delete-objects --bucket "$bucket" --delete "file://$scratch/versions" --output text \
                --query 'Errors[0].Message')
            [[ -z $refused || $refused = None ]] || die "$bucket cannot be emptied: $refused"
        done
        aws s3api delete-bucket --bucket "$bucket"
    done
    found=$(buckets)
    say "left: ${found:-no bucket}; AWS keeps the key of the disks for 7 more days, which costs nothing"
}

"$command"
