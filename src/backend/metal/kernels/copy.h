// For measuring: copies 16 bytes a thread.
#ifndef QN_BACKEND_METAL_KERNELS_COPY_H
#define QN_BACKEND_METAL_KERNELS_COPY_H

KERNEL(copy_all, BUF(0, uint4, to), BUF(1, const uint4, from))
{
    ulong i = (ulong)TG_X * QN_GPU_THREADS + (ulong)TID;
    to[i] = from[i];
}

#endif
