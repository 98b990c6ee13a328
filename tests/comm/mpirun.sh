#!/bin/sh
# mpirun.sh MPIEXEC PROCESSES PROGRAM [argument...]: on a machine of any number of cores, as root too (tests in a
# container), with one BLAS thread per process. Ends all after four minutes.
mpiexec=$1
processes=$2
shift 2
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OPENBLAS_NUM_THREADS=1
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"  # OpenMPI keeps what it allocates when it starts
export OMPI_MCA_mpi_yield_when_idle=1  # the machine has other work
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe  # OpenMPI 4, 5
exec timeout 240 "$mpiexec" -n "$processes" "$@"
