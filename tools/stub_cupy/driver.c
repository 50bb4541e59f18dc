/* Functions of CUDA's driver, its runtime and cuBLAS for a machine without a GPU, called by CuPy and fastbp.

   Memory of a device is memory of the host. Work on a stream is kept in a queue, and done only when something waits for
   it, so that a missing wait is always noticed. Kernels are executed by Python (machine.py). Every use of a device is
   logged, with the current device. A use of a stream or of memory of a device that is not current is a fault.

   The signatures are those of NVIDIA's manuals. Parameters at the end that are not used are left out. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES 2
#define PARAMETERS 64
#define INVALID_VALUE 1
#define OUT_OF_MEMORY 2
#define INVALID_HANDLE 400
#define LAUNCH_FAILED 719
#define NOT_SUPPORTED 801
#define CAPTURING 900
#define CUBLAS_INVALID_VALUE 7
#define TF32 3 /* of cublasMath_t */
#define STREAM_CAPTURE_ACTIVE 1

typedef struct {
    int id, count, sizes[PARAMETERS];
} Function;

typedef struct {
    int single, op_a, op_b, m, n, k, lda, ldb, ldc, tf32;
    double alpha, beta;
    const void *a, *b;
    void *c;
} Product;

typedef struct Op {
    enum { KERNEL, PRODUCT, COPY, SET, HOST } kind;
    struct Op *next;
    Function *function;
    unsigned geometry[7]; /* grid, block, bytes of shared memory */
    char *parameters[PARAMETERS];
    Product product;
    void *to;
    const void *from;
    size_t size;
    int value;
    char *staged; /* a copy of pageable memory, made when the copy was enqueued */
    void (*call)(void *);
    void *argument;
} Op;

typedef struct {
    Op *first, *last;
} Queue;

typedef struct {
    int device, blocking, capturing, busy;
    Queue queue, captured;
} Stream;

typedef struct {
    int device, math, mode;
    Stream *stream;
    void *workspace;
} Handle;

typedef struct Block {
    struct Block *next;
    char *start;
    size_t size;
    int device; /* or -1 for pinned memory of the host */
} Block;

typedef struct {
    int module;
} Module;

/* ---- The state, and its interface for Python */

static __thread int current;
static int computes = 1, failed;
static Stream defaults[DEVICES] = {{.device = 0, .blocking = 1}, {.device = 1, .blocking = 1}};
static Stream *streams[4096];
static int n_streams;
static Block *blocks;
static size_t used[DEVICES], total = (size_t)8 << 30;
static char *faults, *entries;
static size_t n_faults, n_entries, room_faults, room_entries;
static int (*load_module)(const void *image);
static int (*describe)(int module, const char *name, int *sizes);
static int (*execute)(int function, const unsigned *geometry, char **parameters);

/* The lock of the queues and of the memory. A thread that has it may wait for Python's lock, so functions that CuPy calls
   with Python's lock must not take it. */
static pthread_mutex_t work = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP, text = PTHREAD_MUTEX_INITIALIZER;
static void unlock(pthread_mutex_t **mutex) { pthread_mutex_unlock(*mutex); }
#define LOCK(mutex)                                                                                                    \
    pthread_mutex_t *locked __attribute__((cleanup(unlock))) = &mutex;                                                 \
    pthread_mutex_lock(locked)

void stand_in_callbacks(void *load, void *description, void *execution) {
    *(void **)&load_module = load, *(void **)&describe = description, *(void **)&execute = execution;
}
/* With 0, launches, products and copies do nothing and are not logged: a driver that costs as little as possible. */
void stand_in_computes(int value) { computes = value; }
void stand_in_memory(size_t bytes) { total = bytes; }
const char *stand_in_faults(void) { return faults ? faults : ""; }
const char *stand_in_log(void) { return entries ? entries : ""; }
void stand_in_forget(void) {
    n_faults = n_entries = 0;
    if (faults) *faults = 0;
    if (entries) *entries = 0;
}
int stand_in_block(uintptr_t address, uintptr_t *start, size_t *size) {
    LOCK(work);
    for (Block *b = blocks; b; b = b->next)
        if (address - (uintptr_t)b->start < b->size) {
            *start = (uintptr_t)b->start, *size = b->size;
            return b->device;
        }
    return -2;
}

static void append(char **lines, size_t *length, size_t *room, const char *line) {
    LOCK(text);
    size_t more = strlen(line) + 2;
    if (*length + more > *room) *lines = realloc(*lines, *room = 2 * (*length + more));
    *length += sprintf(*lines + *length, "%s\n", line);
}

static void fault(const char *format, ...) {
    char line[300];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    append(&faults, &n_faults, &room_faults, line);
}

/* Log a use of a device: the function, the device, and the current device. */
static int use(const char *name, int device) {
    if (computes) {
        char line[100];
        snprintf(line, sizeof line, "%s %d %d", name, device, current);
        append(&entries, &n_entries, &room_entries, line);
    }
    if (device == current) return 0;
    fault("%s on device %d while device %d is current", name, device, current);
    return INVALID_HANDLE;
}

/* Check that memory is on the current device. CUDA would copy between devices, too, but not in the right order. */
static int reach(const char *name, const void *pointer, size_t size) {
    uintptr_t start;
    size_t all;
    int device = stand_in_block((uintptr_t)pointer, &start, &all);
    if (device != current) fault("%s reaches memory of device %d while device %d is current", name, device, current);
    if (device != -2 && (uintptr_t)pointer - start + size <= all) return 0;
    fault("%s is out of bounds", name);
    return INVALID_VALUE;
}

int stand_in_unsupported(const char *name) {
    fault("%s was called, and has no stand-in", name);
    return NOT_SUPPORTED;
}

/* ---- Work on streams */

static float rounded_to_tf32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x1000) & 0xFFFFE000;
    memcpy(&x, &bits, 4);
    return x;
}

static double item(const Product *p, const void *matrix, size_t i) {
    if (!p->single) return ((const double *)matrix)[i];
    float x = ((const float *)matrix)[i];
    return p->tf32 ? rounded_to_tf32(x) : x;
}

static void multiply(const Product *p) {
    for (int j = 0; j < p->n; j++)
        for (int i = 0; i < p->m; i++) {
            double sum = 0;
            for (int l = 0; l < p->k; l++)
                sum += item(p, p->a, p->op_a ? l + (size_t)i * p->lda : i + (size_t)l * p->lda) *
                       item(p, p->b, p->op_b ? j + (size_t)l * p->ldb : l + (size_t)j * p->ldb);
            size_t at = i + (size_t)j * p->ldc;
            float *f = p->c;
            double *d = p->c;
            if (p->single)
                f[at] = (float)(p->alpha * sum + (p->beta ? p->beta * f[at] : 0));
            else
                d[at] = p->alpha * sum + (p->beta ? p->beta * d[at] : 0);
        }
}

static void perform(const Op *op) {
    switch (op->kind) {
    case KERNEL: failed |= execute(op->function->id, op->geometry, (char **)op->parameters); break;
    case PRODUCT: multiply(&op->product); break;
    case COPY: memmove(op->to, op->staged ? op->staged : op->from, op->size); break;
    case SET: memset(op->to, op->value, op->size); break;
    case HOST: op->call(op->argument); break;
    }
}

static void discard(Op *op) {
    if (op->kind == KERNEL)
        for (int i = 0; i < op->function->count; i++) free(op->parameters[i]);
    free(op->staged);
    free(op);
}

static Op *copied(const Op *op) {
    Op *copy = malloc(sizeof *copy);
    *copy = *op;
    if (op->kind == KERNEL)
        for (int i = 0; i < op->function->count; i++)
            copy->parameters[i] = memcpy(malloc(op->function->sizes[i]), op->parameters[i], op->function->sizes[i]);
    if (op->staged) copy->staged = memcpy(malloc(op->size), op->staged, op->size);
    return copy;
}

static void put(Queue *queue, Op *op) {
    op->next = NULL;
    if (queue->first)
        queue->last->next = op;
    else
        queue->first = op;
    queue->last = op;
}

/* Do all work of a stream. An execution by Python may free something, and so come here again: then it does nothing. */
static int drain(Stream *stream) {
    LOCK(work);
    if (stream->busy) return 0;
    int before = current;
    current = stream->device, stream->busy = 1;
    for (Op *op; (op = stream->queue.first);) {
        stream->queue.first = op->next;
        perform(op);
        discard(op);
    }
    current = before, stream->busy = 0;
    return failed ? LAUNCH_FAILED : 0;
}

static int drain_device(int device, int only_blocking) {
    LOCK(work);
    drain(&defaults[device]);
    for (int i = 0; i < n_streams; i++)
        if (streams[i] && streams[i]->device == device && (streams[i]->blocking || !only_blocking)) drain(streams[i]);
    return failed ? LAUNCH_FAILED : 0;
}

static Stream *stream_of(void *handle) { return (uintptr_t)handle <= 2 ? &defaults[current] : handle; }

/* Enqueue an operation, or capture it. The default stream and blocking streams wait for each other. */
static int enqueue(const char *name, Stream *stream, Op op) {
    LOCK(work);
    if (use(name, stream->device)) return INVALID_HANDLE;
    if (stream->capturing) {
        put(&stream->captured, copied(&op));
        return 0;
    }
    if (stream == &defaults[stream->device])
        drain_device(stream->device, 1);
    else if (stream->blocking)
        drain(&defaults[stream->device]);
    put(&stream->queue, copied(&op));
    return failed ? LAUNCH_FAILED : 0;
}

/* ---- The runtime: versions, devices and memory */

const char *cudaGetErrorName(int error) { return error == OUT_OF_MEMORY ? "cudaErrorMemoryAllocation" : "cudaError"; }
const char *cudaGetErrorString(int error) { return error == OUT_OF_MEMORY ? "out of memory" : "of the stand-in"; }
int cudaGetLastError(void) { return 0; }
int cudaDriverGetVersion(int *version) { return *version = 13000, 0; }
int cudaRuntimeGetVersion(int *version) { return *version = 13000, 0; }
int cudaGetDeviceCount(int *count) { return *count = DEVICES, 0; }
int cudaGetDevice(int *device) { return *device = current, 0; }
int cudaSetDevice(int device) {
    if (device < 0 || device >= DEVICES) return 101;
    current = device;
    return 0;
}
int cudaDeviceSynchronize(void) { return use("cudaDeviceSynchronize", current), drain_device(current, 0); }
int cudaDeviceCanAccessPeer(int *can) { return *can = 0, 0; }
int cudaDeviceGetPCIBusId(char *id, int size, int device) { return snprintf(id, size, "0000:%02d:00.0", device), 0; }
int cudaGetDeviceProperties(void *properties, int device) {
    (void)device;
    strcpy(properties, "stand-in"); /* CuPy without CUDA does not read more than the name */
    return 0;
}
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 75: *value = 9; return 0; /* the compute capability, major and minor */
    case 76: *value = 0; return 0;
    case 16: *value = 132; return 0; /* multiprocessors */
    case 1: *value = 1024; return 0; /* threads of a block */
    default: return INVALID_VALUE;
    }
}
int cudaMemGetInfo(size_t *free_bytes, size_t *all) { return *free_bytes = total - used[current], *all = total, 0; }

static int allocate(void **pointer, size_t size, int device) {
    LOCK(work);
    if (device >= 0 && used[device] + size > total) return OUT_OF_MEMORY;
    Block *block = malloc(sizeof *block);
    size_t rounded = (size + 511) / 512 * 512;
    *block = (Block){blocks, aligned_alloc(512, rounded ? rounded : 512), size, device};
    for (char *p = block->start; p < block->start + size; p++) *p = -1; /* NaN, until something is written */
    blocks = block;
    if (device >= 0) used[device] += size;
    *pointer = block->start;
    return 0;
}
static int deallocate(void *pointer) {
    LOCK(work);
    for (Block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->start == pointer) {
            Block *block = *b;
            /* CUDA waits for the device of the memory. After a fault, another one may have work with it. */
            for (int device = 0; device < DEVICES; device++) drain_device(device, 0);
            if (block->device >= 0) used[block->device] -= block->size;
            *b = block->next;
            free(block->start), free(block);
            return 0;
        }
    return pointer ? INVALID_VALUE : 0;
}
int cudaMalloc(void **pointer, size_t size) { return use("cudaMalloc", current), allocate(pointer, size, current); }
int cudaFree(void *pointer) { return deallocate(pointer); }
int cudaHostAlloc(void **pointer, size_t size) { return allocate(pointer, size, -1); }
int cudaFreeHost(void *pointer) { return deallocate(pointer); }
int cudaPointerGetAttributes(void *attributes, void *pointer) {
    struct { int device; void *there, *here; } *a = attributes;
    uintptr_t start;
    size_t size;
    int device = stand_in_block((uintptr_t)pointer, &start, &size);
    a->device = device < 0 ? -1 : device, a->there = device < 0 ? NULL : pointer, a->here = device < 0 ? pointer : NULL;
    return 0;
}

static int copy(const char *name, void *to, const void *from, size_t size, Stream *stream, int asynchronous) {
    if (!computes) return 0;
    uintptr_t start;
    size_t all;
    int target = stand_in_block((uintptr_t)to, &start, &all), source = stand_in_block((uintptr_t)from, &start, &all);
    if ((target >= 0 && reach(name, to, size)) || (source >= 0 && reach(name, from, size))) return INVALID_VALUE;
    Op op = {.kind = COPY, .to = to, .from = from, .size = size};
    if (source == -2) op.staged = memcpy(malloc(size ? size : 1), from, size);
    int status = enqueue(name, stream, op);
    free(op.staged);
    if (status) return status;
    if (stream->capturing) return target == -2 || !asynchronous ? CAPTURING : 0;
    return target == -2 || !asynchronous ? drain(stream) : 0;
}
int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
    (void)kind;
    return copy("cudaMemcpy", to, from, size, &defaults[current], 0);
}
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    (void)kind;
    return copy("cudaMemcpyAsync", to, from, size, stream_of(stream), 1);
}
int cudaMemsetAsync(void *pointer, int value, size_t size, void *stream) {
    if (!computes) return 0;
    if (reach("cudaMemsetAsync", pointer, size)) return INVALID_VALUE;
    Op op = {.kind = SET, .to = pointer, .value = value, .size = size};
    return enqueue("cudaMemsetAsync", stream_of(stream), op);
}
int cudaMemset(void *pointer, int value, size_t size) {
    int status = cudaMemsetAsync(pointer, value, size, NULL);
    return status ? status : drain(&defaults[current]);
}

/* ---- The runtime: streams, events and graphs */

int cudaStreamCreateWithPriority(Stream **stream, unsigned flags) {
    LOCK(work);
    if (n_streams == sizeof streams / sizeof *streams) return OUT_OF_MEMORY;
    *stream = streams[n_streams++] = calloc(1, sizeof **stream);
    (*stream)->device = current, (*stream)->blocking = !(flags & 1);
    return use("cudaStreamCreate", current);
}
int cudaStreamCreateWithFlags(Stream **stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags); }
int cudaStreamCreate(Stream **stream) { return cudaStreamCreateWithPriority(stream, 0); }
int cudaStreamDestroy(Stream *stream) {
    LOCK(work);
    drain(stream);
    for (int i = 0; i < n_streams; i++)
        if (streams[i] == stream) streams[i] = streams[--n_streams], streams[n_streams] = NULL;
    free(stream);
    return 0;
}
int cudaStreamGetFlags(void *stream, unsigned *flags) { return *flags = !stream_of(stream)->blocking, 0; }
int cudaStreamGetPriority(void *stream, int *priority) { return (void)stream, *priority = 0, 0; }
int cudaStreamSynchronize(void *handle) {
    Stream *stream = stream_of(handle);
    if (!computes) return 0;
    if (stream->capturing) return CAPTURING;
    use("cudaStreamSynchronize", stream->device);
    if (stream == &defaults[stream->device]) drain_device(stream->device, 1);
    return drain(stream);
}
int cudaStreamQuery(void *stream) { return stream_of(stream)->queue.first ? 600 : 0; }
int cudaLaunchHostFunc(void *stream, void (*call)(void *), void *argument) {
    Op op = {.kind = HOST, .call = call, .argument = argument};
    return enqueue("cudaLaunchHostFunc", stream_of(stream), op);
}

/* An event is the stream on which it was recorded last. Waiting for it does the work that is enqueued there. */
int cudaEventCreateWithFlags(Stream ***event) { return *event = calloc(1, sizeof **event), 0; }
int cudaEventCreate(Stream ***event) { return cudaEventCreateWithFlags(event); }
int cudaEventDestroy(Stream **event) { return free(event), 0; }
int cudaEventRecord(Stream **event, void *stream) {
    *event = stream_of(stream);
    return computes ? use("cudaEventRecord", (*event)->device) : 0;
}
static int is_alive(const Stream *stream) {
    if (stream == &defaults[0] || stream == &defaults[1]) return 1;
    for (int i = 0; i < n_streams; i++)
        if (streams[i] == stream) return 1;
    return 0;
}
int cudaEventSynchronize(Stream **event) { return *event && is_alive(*event) ? drain(*event) : 0; }
int cudaEventQuery(Stream **event) { return !*event || !is_alive(*event) || !(*event)->queue.first ? 0 : 600; }
int cudaEventElapsedTime(float *ms) { return *ms = 0, 0; }
int cudaStreamWaitEvent(void *stream, Stream **event) { return (void)stream, cudaEventSynchronize(event); }

int cudaStreamBeginCapture(void *handle) {
    Stream *stream = stream_of(handle);
    if (stream == &defaults[current]) return CAPTURING;
    if (use("cudaStreamBeginCapture", stream->device)) return INVALID_HANDLE;
    stream->capturing = 1;
    return 0;
}
int cudaStreamEndCapture(void *handle, Queue **graph) {
    Stream *stream = stream_of(handle);
    *graph = malloc(sizeof **graph);
    **graph = stream->captured;
    stream->captured = (Queue){0};
    stream->capturing = 0;
    return use("cudaStreamEndCapture", stream->device);
}
int cudaStreamIsCapturing(void *stream, int *status) {
    return *status = stream_of(stream)->capturing ? STREAM_CAPTURE_ACTIVE : 0, 0;
}
int cudaGraphInstantiate(Queue **executable, Queue *graph) {
    *executable = calloc(1, sizeof **executable);
    for (Op *op = graph->first; op; op = op->next) put(*executable, copied(op));
    return use("cudaGraphInstantiate", current);
}
int cudaGraphDestroy(Queue *graph) {
    for (Op *op; (op = graph->first);) graph->first = op->next, discard(op);
    free(graph);
    return 0;
}
int cudaGraphExecDestroy(Queue *executable) { return cudaGraphDestroy(executable); }
int cudaGraphUpload(Queue *executable) { return (void)executable, 0; }
int cudaGraphLaunch(Queue *executable, void *handle) {
    if (!computes) return 0;
    int status = use("cudaGraphLaunch", stream_of(handle)->device);
    for (Op *op = executable->first; op && !status; op = op->next) status = enqueue("graph", stream_of(handle), *op);
    return status;
}

/* ---- The driver: modules and launches */

int cuGetErrorName(int error, const char **name) { return *name = cudaGetErrorName(error), 0; }
int cuGetErrorString(int error, const char **text) { return *text = cudaGetErrorString(error), 0; }
int cuModuleLoadData(Module **module, const void *image) {
    use("cuModuleLoadData", current);
    int id = load_module(image);
    if (id < 0) return 200; /* an invalid image */
    *module = malloc(sizeof **module);
    (*module)->module = id;
    return 0;
}
int cuModuleUnload(Module *module) {
    drain_device(0, 0), drain_device(1, 0);
    free(module);
    return 0;
}
int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    static int functions;
    *function = calloc(1, sizeof **function);
    (*function)->count = describe(module->module, name, (*function)->sizes);
    (*function)->id = functions++; /* Python counts in the same order */
    return (*function)->count < 0 ? 500 : 0;
}
int cuFuncGetAttribute(int *value, int attribute) { return *value = attribute == 0 ? 1024 : 0, 0; }
int cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    (void)extra;
    if (!computes && !stream_of(stream)->capturing) return 0;
    Op op = {.kind = KERNEL, .function = function, .geometry = {gx, gy, gz, bx, by, bz, shared}};
    memcpy(op.parameters, parameters, function->count * sizeof *parameters);
    return enqueue("cuLaunchKernel", stream_of(stream), op);
}

/* ---- cuBLAS, by the names of its header and by those of its library */

#define TWO_NAMES(name, parameters, arguments) int name##_v2 parameters { return name arguments; }

int cublasCreate(Handle **handle) {
    *handle = calloc(1, sizeof **handle);
    (*handle)->device = current;
    return use("cublasCreate", current);
}
int cublasDestroy(Handle *handle) { return free(handle), 0; }
int cublasGetVersion(Handle *handle, int *version) { return (void)handle, *version = 130000, 0; }
int cublasSetStream(Handle *handle, void *stream) {
    handle->stream = stream, handle->workspace = NULL;
    return 0;
}
int cublasGetStream(Handle *handle, Stream **stream) { return *stream = handle->stream, 0; }
int cublasSetWorkspace(Handle *handle, void *memory, size_t size) {
    handle->workspace = memory;
    return reach("cublasSetWorkspace", memory, size) ? CUBLAS_INVALID_VALUE : 0;
}
int cublasSetPointerMode(Handle *handle, int mode) { return handle->mode = mode, 0; }
int cublasGetPointerMode(Handle *handle, int *mode) { return *mode = handle->mode, 0; }
int cublasSetMathMode(Handle *handle, int mode) { return handle->math = mode, 0; }
int cublasGetMathMode(Handle *handle, int *mode) { return *mode = handle->math, 0; }

static int product(const char *name, Handle *handle, Product p) {
    Stream *stream = stream_of(handle->stream);
    if (!computes && !stream->capturing) return 0;
    size_t itemsize = p.single ? 4 : 8;
    int rows_a = p.op_a ? p.k : p.m, rows_b = p.op_b ? p.n : p.k;
    if (handle->mode != 0 || p.lda < rows_a || p.ldb < rows_b || p.ldc < p.m || p.m < 1 || p.n < 1 || p.k < 1) {
        fault("%s has invalid arguments", name);
        return CUBLAS_INVALID_VALUE;
    }
    if (use(name, handle->device) || reach(name, p.a, itemsize * p.lda * (p.op_a ? p.m : p.k)) ||
        reach(name, p.b, itemsize * p.ldb * (p.op_b ? p.k : p.n)) || reach(name, p.c, itemsize * p.ldc * p.n))
        return CUBLAS_INVALID_VALUE;
    p.tf32 = p.single && handle->math == TF32;
    if (stream->capturing && !handle->workspace) { /* cuBLAS would allocate one, which a capture refuses */
        fault("%s is captured without a workspace", name);
        return CUBLAS_INVALID_VALUE;
    }
    Op op = {.kind = PRODUCT, .product = p};
    return enqueue(name, stream, op) ? 14 : 0;
}

#define GEMM_PARAMETERS(T)                                                                                             \
    (Handle * h, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda, const T *b, int ldb,        \
     const T *beta, T *c, int ldc)
#define GEMM_ARGUMENTS (h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)

int cublasSgemm GEMM_PARAMETERS(float) {
    Product p = {1, ta, tb, m, n, k, lda, ldb, ldc, 0, *alpha, *beta, a, b, c};
    return product("cublasSgemm", h, p);
}
int cublasDgemm GEMM_PARAMETERS(double) {
    Product p = {0, ta, tb, m, n, k, lda, ldb, ldc, 0, *alpha, *beta, a, b, c};
    return product("cublasDgemm", h, p);
}

TWO_NAMES(cublasSgemm, GEMM_PARAMETERS(float), GEMM_ARGUMENTS)
TWO_NAMES(cublasDgemm, GEMM_PARAMETERS(double), GEMM_ARGUMENTS)
TWO_NAMES(cublasSetStream, (Handle * handle, void *stream), (handle, stream))
TWO_NAMES(cublasSetWorkspace, (Handle * handle, void *memory, size_t size), (handle, memory, size))
TWO_NAMES(cublasSetPointerMode, (Handle * handle, int mode), (handle, mode))
