# Terminals are login shells, for which /etc/profile has just forgotten the image's PATH.
PATH="/opt/berth/bin:${PYTHONUSERBASE:-$HOME/.local}/bin:/opt/tensorflow/bin:/opt/jupyter/bin:$PATH"
[ ! -d /opt/cuda/bin ] || PATH="$PATH:/opt/cuda/bin"
export PATH
