# Sourced on every node of a cluster by each command of Ray's launcher. What is set here when Ray starts is seen by all
# its workers: tokens and passwords, so that no cluster.yaml holds one.
export PATH="$HOME/.equipoise/bin:$HOME/.equipoise/venv/bin:$PATH"
set -a
. "$HOME/.equipoise/cluster.env"
set +a
