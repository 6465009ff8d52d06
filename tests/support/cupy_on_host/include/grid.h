// What grid.cc shares with runtime.cc and with every kernel.
#pragma once
#include <cstddef>

struct Index { unsigned x, y, z; };
typedef void (*Kernel)(void** arguments);  // runs one thread

#pragma GCC visibility push(default)
extern "C" {
const size_t MAX_THREADS = 1024;       // of a block
const size_t MAX_SHARED = 64 << 10;    // bytes whose number is known at launch only
extern Index threadIdx, blockIdx, blockDim, gridDim;
extern char dynamic_shared_memory[MAX_SHARED];
void wait_for_block();
void wait_for_warp();
void run_grid(Kernel kernel, void** arguments, Index grid, Index block);
}
#pragma GCC visibility pop
