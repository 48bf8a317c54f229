#!/usr/bin/env bash
# Builds, tests and times the DCNv2 kernel on the GPU of this machine; needs nvcc and a python3 with torch, no TensorRT.
#
#   benchmarks/dcnv2.sh OUT                 about a minute; OUT/dcnv2.md, OUT/dcnv2.json, OUT/tests.txt
#   LIBRARY=libtrtnn_dcnv2.so benchmarks/dcnv2.sh OUT     with a library built elsewhere
#   SWEEP=1 benchmarks/dcnv2.sh OUT         also every block shape: OUT/dcnv2-sweep.json
#   NCU=1 benchmarks/dcnv2.sh OUT           also what Nsight Compute says of each size in fp16: OUT/ncu.txt
#   SANITIZE=1 benchmarks/dcnv2.sh OUT      also compute-sanitizer, memcheck and racecheck: minutes
set -uo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

# trtnn as it would be installed, without installing it: the folders beside trtnn/ belong into it.
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
cp -r trtnn tests benchmarks pyproject.toml "$site"
cp -r models plugins examples "$site/trtnn"
export TRTNN_CACHE_DIR="${TRTNN_CACHE_DIR:-$out/cache}" PYTHONUNBUFFERED=1
library=${LIBRARY:+$(realpath "$LIBRARY")}
cd "$site"
export PYTHONPATH="$site"

start=$SECONDS
library=${library:-$($python -m trtnn.plugins.dcnv2 build --kernel-only)} || exit 1
echo "built: $library ($((SECONDS - start)) s)"
export TRTNN_DCNV2_LIBRARY="$library"

failed=0
$python -m pytest -p no:cacheprovider tests/plugins/test_kernel_on_gpu.py 2>&1 | tee "$out/tests.txt" || failed=1
echo "tested ($((SECONDS - start)) s)"
$python benchmarks/dcnv2.py --out "$out" --library "$library" || failed=1
echo "timed ($((SECONDS - start)) s)"
if [ -n "${SWEEP:-}" ]; then
    $python benchmarks/dcnv2.py --out "$out" --library "$library" --sweep --type fp16 || failed=1
    echo "swept ($((SECONDS - start)) s)"
fi
if [ -n "${NCU:-}" ]; then
    ncu --kernel-name regex:deform_kernel --clock-control none --section SpeedOfLight --section WarpStateStats \
        --section Occupancy --section MemoryWorkloadAnalysis \
        $python benchmarks/dcnv2.py --out "$out" --library "$library" --once --type fp16 >"$out/ncu.txt" 2>&1 || failed=1
    echo "profiled ($((SECONDS - start)) s)"
fi
if [ -n "${SANITIZE:-}" ]; then
    # Without torch's caching, an access outside an array is one outside an allocation.
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1
    for tool in memcheck racecheck; do
        timeout "${SANITIZE_SECONDS:-150}" compute-sanitizer --tool $tool --error-exitcode 9 \
            $python -m pytest -p no:cacheprovider -o timeout=0 tests/plugins/test_kernel_on_gpu.py \
            -k "definition or shape" 2>&1 | tee "$out/$tool.txt" | tail -5 || failed=1
        echo "$tool ($((SECONDS - start)) s)"
    done
fi
exit $failed
