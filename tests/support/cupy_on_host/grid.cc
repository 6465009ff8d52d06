// Runs the grid of one launch: block after block, each block's threads as fibers, so
// that a barrier is a switch of stacks and needs one thread of the system only.
#include "grid.h"
#include <setjmp.h>
#include <ucontext.h>
#include <cstdlib>

Index threadIdx, blockIdx, blockDim, gridDim;
alignas(256) char dynamic_shared_memory[MAX_SHARED];

static struct { Kernel kernel; void** arguments; } launched;
enum State { READY, AT_WARP, AT_BLOCK, DONE };
static struct Fiber { jmp_buf here; State state; } fibers[MAX_THREADS];
static jmp_buf scheduler;
static Fiber* running;

static void wait(State state) {
  running->state = state;
  if (!_setjmp(running->here)) _longjmp(scheduler, 1);
}
void wait_for_block() { wait(AT_BLOCK); }
void wait_for_warp() { wait(AT_WARP); }

// A fiber is made once, and runs one thread of every block from then on.
static void live() {
  for (;;) {
    wait(DONE);
    launched.kernel(launched.arguments);
  }
}

static void create(Fiber& fiber) {
  const size_t STACK = 64 << 10;
  ucontext_t start;
  getcontext(&start);
  start.uc_stack.ss_sp = malloc(STACK);
  start.uc_stack.ss_size = STACK;
  makecontext(&start, live, 0);
  running = &fiber;
  if (!_setjmp(scheduler)) setcontext(&start);
}

static void resume(unsigned thread) {
  unsigned row = thread / blockDim.x;
  threadIdx = {thread % blockDim.x, row % blockDim.y, row / blockDim.y};
  running = &fibers[thread];
  if (!_setjmp(scheduler)) _longjmp(running->here, 1);
}

// Runs each ready thread up to its next barrier or its end; says whether any waits.
static bool advance(size_t threads) {
  bool any[4] = {};
  for (size_t t = 0; t < threads; t++) {
    if (fibers[t].state == READY) resume(t);
    any[fibers[t].state] = true;
  }
  // Nobody can come to a warp's barrier any more, so it opens for those who are there.
  // The block's barrier opens only when no warp can go on.
  State opens = any[AT_WARP] ? AT_WARP : AT_BLOCK;
  for (size_t t = 0; t < threads; t++)
    if (fibers[t].state == opens) fibers[t].state = READY;
  return any[opens];
}

static void run_block() {
  static size_t created = 0;
  size_t threads = (size_t)blockDim.x * blockDim.y * blockDim.z;
  while (created < threads) create(fibers[created++]);
  for (size_t t = 0; t < threads; t++) fibers[t].state = READY;
  while (advance(threads)) {}
}

void run_grid(Kernel kernel, void** arguments, Index grid, Index block) {
  launched = {kernel, arguments};
  gridDim = grid;
  blockDim = block;
  for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block();
}
