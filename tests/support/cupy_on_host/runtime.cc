// Host functions for the C functions that CuPy's compiled modules call through the
// capsules of cupy_backends.cuda.api.{runtime,driver}.  `runtime_NAME` and
// `driver_NAME` have the very C signature of the capsule NAME; each one's last int is
// Cython's "skip dispatch".  A function that is not here goes on failing as it does
// without a GPU.
#include <Python.h>
#include <dlfcn.h>
#include <cstdlib>
#include <cstring>
#include "grid.h"

extern "C" {
typedef PyObject* Object;
typedef intptr_t Pointer;

static Object none() { Py_RETURN_NONE; }
static Object refuse(const char* what) {
  PyErr_Format(PyExc_NotImplementedError, "CuPy on the host has no %s", what);
  return nullptr;
}

// What a GPU would have been asked for.  A copy counts at its cudaMemcpyKind, 1 to 3:
// to the device, to the host, within the device.  COUNTERS in __init__.py names them.
enum { LAUNCHES, COPIES = 0, BYTES = 3, COUNTERS = 7 };
long long cupy_on_host_counters[COUNTERS];

// ---- one device, of compute capability 8.0 ---------------------------------------
Object runtime__ensure_context() { return none(); }
int runtime_getDevice(int) { return 0; }
int runtime_getDeviceCount(int) { return 1; }
int runtime_deviceGetAttribute(int attribute, int, int) {
  // cudaDevAttrComputeCapabilityMajor, cudaDevAttrMultiProcessorCount
  return attribute == 75 ? 8 : attribute == 16 ? 1 : 0;
}
Object runtime_getDeviceProperties(int, int) {
  return Py_BuildValue("{s:y,s:i}", "name", "CuPy on the host", "warpSize", 32);
}
Object runtime_deviceSynchronize(int) { return none(); }
Object runtime_setDevice(int device, int) {
  return device ? refuse("device but 0") : none();
}

// ---- memory ----------------------------------------------------------------------
static Pointer allocate(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 512, bytes ? bytes : 1)) PyErr_NoMemory();
  return (Pointer)memory;
}
static Object release(Pointer memory) {
  free((void*)memory);
  return none();
}
Pointer runtime_malloc(size_t bytes, int) { return allocate(bytes); }
Pointer runtime_hostAlloc(size_t bytes, unsigned, int) { return allocate(bytes); }
Object runtime_free(Pointer memory, int) { return release(memory); }
Object runtime_freeHost(Pointer memory, int) { return release(memory); }
int runtime_pointerGetMemoryType(Pointer, int) { return 2; }  // cudaMemoryTypeDevice

Object runtime_memsetAsync(Pointer to, int value, size_t bytes, Pointer, int) {
  memset((void*)to, value, bytes);
  return none();
}
Object runtime_memcpyAsync(
    Pointer to, Pointer from, size_t bytes, int kind, Pointer, int) {
  if (kind == 4) kind = 3;  // cudaMemcpyDefault, which CuPy says within the device
  if (kind < 1 || kind > 3) return refuse("copy from host to host");
  cupy_on_host_counters[COPIES + kind]++;
  cupy_on_host_counters[BYTES + kind] += bytes;
  memmove((void*)to, (void*)from, bytes);
  return none();
}

// ---- streams and events: every operation has ended when its call returns ---------
static Pointer handle() {
  static Pointer last = 0x1000;  // CUDA's own streams have small numbers
  return ++last;
}
Pointer runtime_streamCreateWithPriority(unsigned, int, int) { return handle(); }
Object runtime_streamDestroy(Pointer, int) { return none(); }
int runtime_streamIsCapturing(Pointer, int) { return 0; }
Object runtime_streamQuery(Pointer, int) { return PyLong_FromLong(0); }
Object runtime_streamSynchronize(Pointer, int) { return none(); }
Object runtime_streamWaitEvent(Pointer, Pointer, int, void*) { return none(); }
Pointer runtime_eventCreateWithFlags(unsigned, int) { return handle(); }
Object runtime_eventDestroy(Pointer, int) { return none(); }
Object runtime_eventQuery(Pointer, int) { return PyLong_FromLong(0); }
Object runtime_eventRecord(Pointer, Pointer, int) { return none(); }
Object runtime_eventSynchronize(Pointer, int) { return none(); }

// ---- modules: a "module" is a shared object that compiler.py built ---------------
Pointer driver_moduleLoadData(Object path, int) {
  void* module = dlopen(PyBytes_AsString(path), RTLD_NOW | RTLD_LOCAL);
  if (!module) PyErr_SetString(PyExc_RuntimeError, dlerror());
  return (Pointer)module;
}
Object driver_moduleUnload(Pointer module, int) {
  dlclose((void*)module);
  return none();
}
Pointer driver_moduleGetFunction(Pointer module, Object name, int) {
  Object symbol = PyUnicode_FromFormat("launch_%U", name);
  void* kernel = dlsym((void*)module, PyUnicode_AsUTF8(symbol));
  if (!kernel) PyErr_Format(PyExc_RuntimeError, "no kernel %U in this module", name);
  Py_DECREF(symbol);
  return (Pointer)kernel;
}

// ---- launches --------------------------------------------------------------------
static Object launch(
    Pointer kernel, Index grid, Index block, size_t shared, Pointer from) {
  if (shared > MAX_SHARED) return refuse("64 KiB of shared memory");
  if ((size_t)block.x * block.y * block.z > MAX_THREADS) return refuse("larger block");
  cupy_on_host_counters[LAUNCHES]++;
  run_grid((Kernel)kernel, (void**)from, grid, block);
  return none();
}
Object driver_launchKernel(
    Pointer kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
    unsigned bz, unsigned shared, Pointer, Pointer from, Pointer, int) {
  return launch(kernel, {gx, gy, gz}, {bx, by, bz}, shared, from);
}
Object driver_launchCooperativeKernel(
    Pointer kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
    unsigned bz, unsigned shared, Pointer, Pointer from, int) {
  if (gx * gy * gz > 1) return refuse("cooperative launch of several blocks");
  return launch(kernel, {1, 1, 1}, {bx, by, bz}, shared, from);
}
// With this, CuPy launches its cooperative kernels with one block.
int driver_occupancyMaxActiveBlocksPerMultiprocessor(Pointer, int, size_t, int) {
  return 1;
}
}
