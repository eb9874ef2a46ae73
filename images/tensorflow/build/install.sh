#!/bin/sh
# Installs one locked environment: install.sh bootstrap | jupyter | tensorflow | cuda
#
# Takes from the environment: PIP_INDEX_URL (optional) and the proxies; trusts /build/ca.pem.
set -eu

export SSL_CERT_FILE=/build/ca.pem PIP_CERT=/build/ca.pem
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
export UV_NO_CACHE=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1
[ -n "${PIP_INDEX_URL:-}" ] && export UV_DEFAULT_INDEX="$PIP_INDEX_URL" || unset PIP_INDEX_URL

# install LOCK PYTHON [OPTION...]
install() {
    lock=$1 python=$2
    shift 2
    /build/uv/bin/uv pip install --compile-bytecode --require-hashes --only-binary :all: --python "$python" "$@" -r "/build/$lock"
}

case $1 in
bootstrap)
    python3.11 -m venv /build/uv
    /build/uv/bin/pip install -q --require-hashes -r /build/uv.txt
    ;;
jupyter)
    python3.11 -m venv --without-pip /opt/jupyter
    install jupyter.txt /opt/jupyter/bin/python
    find /opt/jupyter/share -name '*.map' -delete # browsers' debuggers only
    ;;
tensorflow)
    python3.9 -m venv --without-pip /opt/tensorflow
    install tensorflow.txt /opt/tensorflow/bin/python
    # `jupyter` is the server environment's command, also in a terminal.
    rm -f /opt/tensorflow/bin/jupyter*
    # From a virtual environment to an installation of its own: pip neither shadows nor removes packages in a user's
    # home from within a virtual environment, so that users could upgrade nothing and remove nothing. The interpreter
    # finds its library beside itself; that is Debian's, linked, but for the packages.
    home=/opt/tensorflow
    mv $home/lib/python3.9/site-packages $home/lib/python3.9/dist-packages
    rm -f $home/pyvenv.cfg $home/bin/python* $home/bin/[Aa]ctivate*
    cp /usr/bin/python3.9 $home/bin/python3.9
    ln -s python3.9 $home/bin/python3
    ln -s python3.9 $home/bin/python
    for entry in /usr/lib/python3.9/*; do
        [ -e "$home/lib/python3.9/${entry##*/}" ] || ln -s "$entry" $home/lib/python3.9/
    done
    $home/bin/python -c 'import sys, tensorflow; assert sys.prefix == sys.base_prefix == "/opt/tensorflow"'
    ;;
cuda)
    python3.9 -m venv --without-pip /build/cuda
    install cuda.txt /build/cuda/bin/python
    # Flat, as XLA and the dynamic linker like it; the wheels' own directories would each need naming.
    mkdir -p /opt/cuda/lib64 /opt/cuda/bin
    wheels=/build/cuda/lib/python3.9/site-packages
    mv $wheels/nvidia/*/lib/*.so* /opt/cuda/lib64/
    mv $wheels/nvidia/cuda_nvcc/bin/ptxas /opt/cuda/bin/
    mv $wheels/nvidia/cuda_nvcc/nvvm /opt/cuda/
    mkdir /opt/cuda/licenses
    for wheel in $wheels/nvidia_*.dist-info; do
        for file in $(find "$wheel" -iname 'license*' -type f); do
            cp "$file" /opt/cuda/licenses/$(basename "$wheel" .dist-info).txt
        done
    done
    # In the linker's cache and not in LD_LIBRARY_PATH, which would also push these libraries on whatever else a user
    # installs, such as a PyTorch with a newer cuDNN of its own.
    echo /opt/cuda/lib64 > /etc/ld.so.conf.d/berth-cuda.conf
    ldconfig
    ;;
esac
