/* A stub of NVIDIA's management library, libnvidia-ml.so.1, for machines without GPUs.
 *
 * What it tells stands in the file that BERTH_NVML_SCRIPT names; the file is read again whenever it has changed. Without
 * one, each node /dev/nvidia[0-9]* (BERTH_NVML_DEV names another directory) is a GPU of its own; without any the driver
 * is not loaded.
 *
 * The script has a key and a value on each line. Lines before the first `gpu UUID` are the host's; those after it are
 * that GPU's, those after a `mig UUID` that MIG instance's. What a GPU has no key for is "not supported". Keys are
 * named where they are used below; these act on every function:
 *
 *   fail FUNCTION CODE    it returns this error (for all GPUs, or for the one whose section it stands in);
 *   fail * CODE           every function of that GPU does, as when it has fallen off the bus
 *   fail KEY CODE         that value alone cannot be read, of those that a function gives by number: clock_1, field_83
 *   block FUNCTION        it does not return while this line stands there
 *   slow FUNCTION MS      it takes so many milliseconds; `slow *` in a GPU's section means every function of it
 *   driver_epoch N        a change means that the driver was loaded anew: whoever was initialised before is not any more
 *   reset_epoch N         in a GPU's section: a change means that it was reset, and is lost to whoever was initialised
 *                         before
 *   module_version V      the kernel module's; nvmlInit fails unless it is this library's (STUB_VERSION at compile time)
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef STUB_VERSION
#define STUB_VERSION "550.54.15"
#endif

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
    VERSION_MISMATCH = 18,
};

typedef unsigned long long u64;
typedef int ret_t;

/* --- the script -------------------------------------------------------------------------------------------------- */

#define MAX_LINES 4096
#define MAX_GPUS 64
#define MAX_MIGS 16

typedef struct {
    int gpu, mig; /* -1: the host's; -1: the whole GPU's */
    char key[64], value[192];
} line_t;

struct device {
    int gpu, mig;
};
typedef struct device *device_t;

static line_t lines[MAX_LINES];
static int line_count, gpu_count, mig_count[MAX_GPUS];
static struct device handles[MAX_GPUS][MAX_MIGS + 1];
static struct stat read_at;
static int initialised, epoch, reset_epoch[MAX_GPUS], delivered[MAX_GPUS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void add(int gpu, int mig, const char *key, const char *value) {
    if (line_count == MAX_LINES)
        abort();
    line_t *line = &lines[line_count++];
    line->gpu = gpu;
    line->mig = mig;
    snprintf(line->key, sizeof line->key, "%s", key);
    snprintf(line->value, sizeof line->value, "%s", value);
}

static void begin_gpu(const char *uuid) {
    if (gpu_count == MAX_GPUS)
        abort();
    mig_count[gpu_count] = 0;
    add(gpu_count++, -1, "uuid", uuid);
}

static void begin_mig(const char *uuid) {
    int gpu = gpu_count - 1;
    if (gpu < 0 || mig_count[gpu] == MAX_MIGS)
        abort();
    add(gpu, mig_count[gpu]++, "uuid", uuid);
}

static int by_number(const void *left, const void *right) { return *(const int *)left - *(const int *)right; }

static void read_nodes(void) {
    const char *where = getenv("BERTH_NVML_DEV");
    DIR *directory = opendir(where ? where : "/dev");
    int minors[MAX_GPUS], count = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory)) && count < MAX_GPUS;)
        if (!strncmp(entry->d_name, "nvidia", 6) && isdigit((unsigned char)entry->d_name[6]))
            minors[count++] = atoi(entry->d_name + 6);
    if (directory)
        closedir(directory);
    qsort(minors, (size_t)count, sizeof *minors, by_number);
    memset(&read_at, 0, sizeof read_at);
    line_count = gpu_count = 0;
    add(-1, -1, "driver_version", STUB_VERSION);
    for (int i = 0; i < count; i++) {
        char text[64];
        snprintf(text, sizeof text, "GPU-00000000-0000-4000-8000-%012d", minors[i]);
        begin_gpu(text);
        snprintf(text, sizeof text, "%d", minors[i]);
        add(i, -1, "minor_number", text);
        add(i, -1, "name", "Stub GPU");
        add(i, -1, "memory_total", "17179869184");
    }
}

static void read_script(void) {
    static char last[4096];
    const char *path = getenv("BERTH_NVML_SCRIPT");
    struct stat now;
    if (strcmp(last, path ? path : "")) { /* another host */
        snprintf(last, sizeof last, "%s", path ? path : "");
        memset(&read_at, 0, sizeof read_at);
        memset(delivered, 0, sizeof delivered);
    }
    if (!path || !*path) {
        read_nodes();
        return;
    }
    if (stat(path, &now) == 0 && now.st_ino == read_at.st_ino && now.st_size == read_at.st_size &&
        now.st_mtim.tv_sec == read_at.st_mtim.tv_sec && now.st_mtim.tv_nsec == read_at.st_mtim.tv_nsec)
        return;
    FILE *file = fopen(path, "r");
    if (!file) {
        fprintf(stderr, "stub of NVML: cannot read %s\n", path);
        abort();
    }
    fstat(fileno(file), &read_at);
    line_count = gpu_count = 0;
    char text[320];
    while (fgets(text, sizeof text, file)) {
        char *key = text + strspn(text, " \t");
        key[strcspn(key, "\r\n")] = 0;
        if (!*key || *key == '#')
            continue;
        char *value = key + strcspn(key, " \t");
        if (*value)
            *value++ = 0;
        value += strspn(value, " \t");
        if (!strcmp(key, "gpu"))
            begin_gpu(value);
        else if (!strcmp(key, "mig"))
            begin_mig(value);
        else
            add(gpu_count - 1, gpu_count && mig_count[gpu_count - 1] ? mig_count[gpu_count - 1] - 1 : -1, key, value);
    }
    fclose(file);
}

static const char *find(int gpu, int mig, const char *key) {
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == gpu && lines[i].mig == mig && !strcmp(lines[i].key, key))
            return lines[i].value;
    return NULL;
}

static const char *of(device_t device, const char *key) { return find(device->gpu, device->mig, key); }

/* Whether a line `key FUNCTION ...` stands in a section; gives what follows the function's name. */
static const char *about(int gpu, int mig, const char *key, const char *function) {
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == gpu && lines[i].mig == mig && !strcmp(lines[i].key, key)) {
            size_t length = strcspn(lines[i].value, " \t");
            if ((length == 1 && *lines[i].value == '*' && gpu >= 0) ||
                (strlen(function) == length && !strncmp(lines[i].value, function, length)))
                return lines[i].value + length;
        }
    return NULL;
}

static int number_of(int gpu, const char *key) {
    const char *value = find(gpu, -1, key);
    return value ? atoi(value) : 0;
}

/* What every function begins with; its caller holds the mutex when it returns. */
static ret_t enter(const char *function, device_t device, int needs_init) {
    pthread_mutex_lock(&mutex);
    read_script();
    while (about(-1, -1, "block", function) || (device && about(device->gpu, -1, "block", function))) {
        pthread_mutex_unlock(&mutex);
        usleep(5000);
        pthread_mutex_lock(&mutex);
        read_script();
    }
    const char *slow = about(-1, -1, "slow", function);
    if (!slow && device)
        slow = about(device->gpu, -1, "slow", function);
    if (slow) {
        useconds_t wait = (useconds_t)atoi(slow) * 1000;
        pthread_mutex_unlock(&mutex);
        usleep(wait);
        pthread_mutex_lock(&mutex);
        read_script();
    }
    const char *code = about(-1, -1, "fail", function);
    if (code)
        return atoi(code);
    if (needs_init) {
        const char *now = find(-1, -1, "driver_epoch");
        if (!initialised || (now ? atoi(now) : 0) != epoch)
            return UNINITIALIZED;
    }
    if (device) {
        if (device->gpu >= gpu_count || (device->mig >= 0 && device->mig >= mig_count[device->gpu]))
            return NOT_FOUND;
        if (number_of(device->gpu, "reset_epoch") != reset_epoch[device->gpu])
            return GPU_IS_LOST;
        if ((code = about(device->gpu, device->mig, "fail", function)) || (code = about(device->gpu, -1, "fail", function)))
            return atoi(code);
    }
    return SUCCESS;
}

static void leave(int *unused) {
    (void)unused;
    pthread_mutex_unlock(&mutex);
}

#define ENTER_(device, needs_init)                                                                                     \
    __attribute__((cleanup(leave))) int held;                                                                          \
    (void)held;                                                                                                        \
    ret_t entered = enter(__func__, device, needs_init);                                                               \
    if (entered)                                                                                                       \
        return entered;
#define ENTER(device) ENTER_(device, 1)

static ret_t text(const char *value, char *out, unsigned length) {
    if (!value)
        return NOT_SUPPORTED;
    if (strlen(value) >= length)
        return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static ret_t number(const char *value, u64 *out) {
    if (!value)
        return NOT_SUPPORTED;
    *out = strtoull(value, NULL, 10);
    return SUCCESS;
}

static ret_t small(const char *value, unsigned *out) {
    u64 wide = 0;
    ret_t ret = number(value, &wide);
    if (!ret)
        *out = (unsigned)wide;
    return ret;
}

static const char *keyed(device_t device, const char *format, unsigned first, unsigned second) {
    char key[64];
    snprintf(key, sizeof key, format, first, second);
    return of(device, key);
}

/* A value with a number in its key, which `fail KEY CODE` can make fail by itself. */
static ret_t numbered(device_t device, const char *format, unsigned first, unsigned second, u64 *out) {
    char key[64];
    snprintf(key, sizeof key, format, first, second);
    const char *code = about(device->gpu, device->mig, "fail", key);
    return code ? atoi(code) : number(of(device, key), out);
}

/* --- the library and the host ------------------------------------------------------------------------------------ */

static ret_t begin(const char *function) {
    ret_t ret = enter(function, NULL, 0);
    const char *module = find(-1, -1, "module_version"), *now = find(-1, -1, "driver_epoch");
    if (!ret && module && strcmp(module, STUB_VERSION))
        ret = VERSION_MISMATCH;
    const char *path = getenv("BERTH_NVML_SCRIPT");
    if (!ret && (!path || !*path) && !gpu_count)
        ret = DRIVER_NOT_LOADED;
    if (!ret) {
        initialised++;
        epoch = now ? atoi(now) : 0;
        for (int gpu = 0; gpu < gpu_count; gpu++)
            reset_epoch[gpu] = number_of(gpu, "reset_epoch");
    }
    pthread_mutex_unlock(&mutex);
    return ret;
}

ret_t nvmlInit_v2(void) { return begin("nvmlInit_v2"); }
ret_t nvmlInit(void) { return begin("nvmlInit"); }
ret_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return begin("nvmlInitWithFlags");
}

ret_t nvmlShutdown(void) {
    ENTER_(NULL, 0)
    if (!initialised)
        return UNINITIALIZED;
    initialised--;
    return SUCCESS;
}

const char *nvmlErrorString(ret_t code) {
    switch (code) {
    case SUCCESS:
        return "Success";
    case DRIVER_NOT_LOADED:
        return "Driver Not Loaded";
    default:
        return "Unknown Error";
    }
}

ret_t nvmlSystemGetDriverVersion(char *out, unsigned length) {
    ENTER(NULL)
    const char *value = find(-1, -1, "driver_version");
    return text(value ? value : STUB_VERSION, out, length);
}

ret_t nvmlSystemGetNVMLVersion(char *out, unsigned length) {
    ENTER(NULL)
    return text("12." STUB_VERSION, out, length);
}

ret_t nvmlSystemGetCudaDriverVersion(int *out) {
    ENTER(NULL)
    return small(find(-1, -1, "cuda_version"), (unsigned *)out);
}

ret_t nvmlSystemGetCudaDriverVersion_v2(int *out) {
    ENTER(NULL)
    return small(find(-1, -1, "cuda_version"), (unsigned *)out);
}

/* process_name PID NAME */
ret_t nvmlSystemGetProcessName(unsigned pid, char *out, unsigned length) {
    ENTER(NULL)
    for (int i = 0; i < line_count; i++) {
        char *rest;
        if (!strcmp(lines[i].key, "process_name") && strtoul(lines[i].value, &rest, 10) == pid)
            return text(rest + strspn(rest, " "), out, length);
    }
    return NOT_FOUND;
}

/* --- handles ----------------------------------------------------------------------------------------------------- */

static device_t handle(int gpu, int mig) {
    handles[gpu][mig + 1].gpu = gpu;
    handles[gpu][mig + 1].mig = mig;
    return &handles[gpu][mig + 1];
}

ret_t nvmlDeviceGetCount_v2(unsigned *out) {
    ENTER(NULL)
    *out = (unsigned)gpu_count;
    return SUCCESS;
}

ret_t nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *out) {
    ENTER(NULL)
    if (index >= (unsigned)gpu_count)
        return INVALID_ARGUMENT;
    const char *code = about((int)index, -1, "fail", __func__);
    if (code)
        return atoi(code);
    *out = handle((int)index, -1);
    return SUCCESS;
}

ret_t nvmlDeviceGetHandleByUUID(const char *uuid, device_t *out) {
    ENTER(NULL)
    for (int i = 0; i < line_count; i++)
        if (!strcmp(lines[i].key, "uuid") && !strcmp(lines[i].value, uuid)) {
            *out = handle(lines[i].gpu, lines[i].mig);
            return SUCCESS;
        }
    return NOT_FOUND;
}

ret_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, device_t *out) {
    ENTER(NULL)
    for (int i = 0; i < line_count; i++)
        if (!strcmp(lines[i].key, "pci_bus_id") && !strcasecmp(lines[i].value, bus_id)) {
            *out = handle(lines[i].gpu, -1);
            return SUCCESS;
        }
    return NOT_FOUND;
}

ret_t nvmlDeviceGetIndex(device_t device, unsigned *out) {
    ENTER(device)
    *out = (unsigned)device->gpu;
    return SUCCESS;
}

/* --- text -------------------------------------------------------------------------------------------------------- */

#define TEXT(function, name)                                                                                           \
    ret_t function(device_t device, char *out, unsigned length) {                                                      \
        ENTER(device) return text(of(device, name), out, length);                                                      \
    }

TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios_version")
TEXT(nvmlDeviceGetBoardPartNumber, "board_part_number")

/* --- single numbers ---------------------------------------------------------------------------------------------- */

#define SMALL(function, name)                                                                                          \
    ret_t function(device_t device, unsigned *out) {                                                                   \
        ENTER(device) return small(of(device, name), out);                                                             \
    }
#define WIDE(function, name)                                                                                           \
    ret_t function(device_t device, u64 *out) { ENTER(device) return number(of(device, name), out); }
/* The key ends in the argument's number: clock_0 */
#define SMALL_OF(function, name)                                                                                       \
    ret_t function(device_t device, unsigned which, unsigned *out) {                                                   \
        ENTER(device) u64 wide = 0;                                                                                    \
        ret_t ret = numbered(device, name "_%u", which, 0, &wide);                                                     \
        *out = (unsigned)wide;                                                                                         \
        return ret;                                                                                                    \
    }
#define PERIOD(function, name)                                                                                         \
    ret_t function(device_t device, unsigned *out, unsigned *period) {                                                 \
        ENTER(device) *period = 167000;                                                                                \
        return small(of(device, name), out);                                                                           \
    }
#define PAIR(function, first, second)                                                                                  \
    ret_t function(device_t device, unsigned *one, unsigned *two) {                                                    \
        ENTER(device) ret_t ret = small(of(device, first), one);                                                       \
        const char *other = of(device, second);                                                                        \
        return ret ? ret : small(other ? other : of(device, first), two);                                              \
    }

SMALL(nvmlDeviceGetMinorNumber, "minor_number")
SMALL(nvmlDeviceGetBrand, "brand")
SMALL(nvmlDeviceGetArchitecture, "architecture")
SMALL(nvmlDeviceGetNumGpuCores, "cores")
SMALL(nvmlDeviceGetPersistenceMode, "persistence_mode")
SMALL(nvmlDeviceGetComputeMode, "compute_mode")
SMALL(nvmlDeviceGetPerformanceState, "performance_state")
SMALL(nvmlDeviceGetPowerUsage, "power_usage")
SMALL(nvmlDeviceGetPowerManagementLimit, "power_limit")
SMALL(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default")
SMALL(nvmlDeviceGetEnforcedPowerLimit, "power_limit_enforced")
SMALL(nvmlDeviceGetFanSpeed, "fan_speed")
SMALL(nvmlDeviceGetNumFans, "fans")
SMALL(nvmlDeviceGetPcieReplayCounter, "pcie_replay")
SMALL(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation")
SMALL(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
SMALL(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_generation_max")
SMALL(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
SMALL(nvmlDeviceGetRetiredPagesPendingStatus, "retired_pages_pending")
SMALL(nvmlDeviceGetGpuInstanceId, "gpu_instance")
SMALL(nvmlDeviceGetComputeInstanceId, "compute_instance")
WIDE(nvmlDeviceGetTotalEnergyConsumption, "energy")
WIDE(nvmlDeviceGetCurrentClocksThrottleReasons, "clocks_event_reasons")
WIDE(nvmlDeviceGetCurrentClocksEventReasons, "clocks_event_reasons")
WIDE(nvmlDeviceGetSupportedClocksEventReasons, "clocks_event_reasons_supported")
WIDE(nvmlDeviceGetSupportedEventTypes, "event_types")
SMALL_OF(nvmlDeviceGetTemperature, "temperature")
SMALL_OF(nvmlDeviceGetTemperatureThreshold, "temperature_threshold")
SMALL_OF(nvmlDeviceGetClockInfo, "clock")
SMALL_OF(nvmlDeviceGetMaxClockInfo, "clock_max")
SMALL_OF(nvmlDeviceGetApplicationsClock, "clock_applications")
SMALL_OF(nvmlDeviceGetPcieThroughput, "pcie_throughput")
SMALL_OF(nvmlDeviceGetNvLinkState, "nvlink_state")
SMALL_OF(nvmlDeviceGetFanSpeed_v2, "fan_speed")
PERIOD(nvmlDeviceGetEncoderUtilization, "encoder_utilization")
PERIOD(nvmlDeviceGetDecoderUtilization, "decoder_utilization")
PERIOD(nvmlDeviceGetJpgUtilization, "jpg_utilization")
PERIOD(nvmlDeviceGetOfaUtilization, "ofa_utilization")
PAIR(nvmlDeviceGetEccMode, "ecc_mode", "ecc_mode_pending")

struct utilization {
    unsigned gpu, memory;
};

ret_t nvmlDeviceGetUtilizationRates(device_t device, struct utilization *out) {
    ENTER(device)
    out->memory = 0;
    small(of(device, "utilization_memory"), &out->memory);
    return small(of(device, "utilization_gpu"), &out->gpu);
}

ret_t nvmlDeviceGetCudaComputeCapability(device_t device, int *major, int *minor) {
    ENTER(device)
    const char *value = of(device, "compute_capability"); /* 8.0 */
    return value && sscanf(value, "%d.%d", major, minor) == 2 ? SUCCESS : NOT_SUPPORTED;
}

ret_t nvmlDeviceGetPowerManagementLimitConstraints(device_t device, unsigned *least, unsigned *most) {
    ENTER(device)
    ret_t ret = small(of(device, "power_limit_min"), least);
    return ret ? ret : small(of(device, "power_limit_max"), most);
}

struct temperature {
    unsigned version, sensor;
    int temperature;
};

ret_t nvmlDeviceGetTemperatureV(device_t device, struct temperature *out) {
    ENTER(device)
    return small(keyed(device, "temperature_%u", out->sensor, 0), (unsigned *)&out->temperature);
}

/* --- memory and errors ------------------------------------------------------------------------------------------- */

struct memory {
    u64 total, free, used;
};
struct memory_v2 {
    unsigned version;
    u64 total, reserved, free, used;
};

static u64 or_none(const char *value) {
    u64 out = 0;
    number(value, &out);
    return out;
}

ret_t nvmlDeviceGetMemoryInfo_v2(device_t device, struct memory_v2 *out) {
    ENTER(device)
    out->reserved = or_none(of(device, "memory_reserved"));
    out->used = or_none(of(device, "memory_used"));
    ret_t ret = number(of(device, "memory_total"), &out->total);
    out->free = out->total - out->used - out->reserved;
    return ret;
}

ret_t nvmlDeviceGetMemoryInfo(device_t device, struct memory *out) {
    ENTER(device)
    out->used = or_none(of(device, "memory_used")) + or_none(of(device, "memory_reserved"));
    ret_t ret = number(of(device, "memory_total"), &out->total);
    out->free = out->total - out->used;
    return ret;
}

ret_t nvmlDeviceGetBAR1MemoryInfo(device_t device, struct memory *out) {
    ENTER(device)
    out->used = or_none(of(device, "bar1_used"));
    ret_t ret = number(of(device, "bar1_total"), &out->total);
    out->free = out->total - out->used;
    return ret;
}

/* ecc_ERRORTYPE_COUNTERTYPE: ecc_1_0 is uncorrected, since the driver was loaded */
ret_t nvmlDeviceGetTotalEccErrors(device_t device, unsigned error, unsigned counter, u64 *out) {
    ENTER(device)
    return numbered(device, "ecc_%u_%u", error, counter, out);
}

ret_t nvmlDeviceGetMemoryErrorCounter(device_t device, unsigned error, unsigned counter, unsigned place, u64 *out) {
    ENTER(device)
    char key[64];
    snprintf(key, sizeof key, "ecc_%u_%u_%u", error, counter, place);
    return number(of(device, key), out);
}

/* remapped_rows CORRECTABLE UNCORRECTABLE PENDING FAILURE */
ret_t nvmlDeviceGetRemappedRows(device_t device, unsigned *corr, unsigned *uncorr, unsigned *pending, unsigned *failed) {
    ENTER(device)
    const char *value = of(device, "remapped_rows");
    return value && sscanf(value, "%u %u %u %u", corr, uncorr, pending, failed) == 4 ? SUCCESS : NOT_SUPPORTED;
}

/* violation_POLICY NANOSECONDS */
ret_t nvmlDeviceGetViolationStatus(device_t device, unsigned policy, u64 *out) {
    ENTER(device)
    out[0] = 1;
    return number(keyed(device, "violation_%u", policy, 0), &out[1]);
}

struct field {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned type;
    ret_t ret;
    u64 value;
};

/* field_ID VALUE; field_ID_LINK VALUE for one NVLink of a throughput, field_ID for all of them together */
ret_t nvmlDeviceGetFieldValues(device_t device, int count, struct field *fields) {
    ENTER(device)
    for (int i = 0; i < count; i++) {
        fields[i].type = 3; /* unsigned long long */
        fields[i].value = 0;
        int of_one_link = fields[i].id >= 138 && fields[i].id <= 141 && fields[i].scope != 0xffffffff;
        fields[i].ret = numbered(device, of_one_link ? "field_%u_%u" : "field_%u", fields[i].id, fields[i].scope,
                                 &fields[i].value);
    }
    return SUCCESS;
}

/* --- MIG --------------------------------------------------------------------------------------------------------- */

PAIR(nvmlDeviceGetMigMode, "mig_mode", "mig_mode_pending")

ret_t nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *out) {
    ENTER(device)
    *out = of(device, "mig_mode") ? MAX_MIGS : 0;
    return SUCCESS;
}

/* A line `hole 1` in a MIG instance's section means that its index is not used: those after it keep theirs. */
ret_t nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *out) {
    ENTER(device)
    if (index >= (unsigned)mig_count[device->gpu] || find(device->gpu, (int)index, "hole"))
        return NOT_FOUND;
    *out = handle(device->gpu, (int)index);
    return SUCCESS;
}

ret_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device_t device, device_t *out) {
    ENTER(device)
    if (device->mig < 0)
        return INVALID_ARGUMENT;
    *out = handle(device->gpu, -1);
    return SUCCESS;
}

ret_t nvmlDeviceIsMigDeviceHandle(device_t device, unsigned *out) {
    ENTER(device)
    *out = device->mig >= 0;
    return SUCCESS;
}

struct attributes {
    unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices;
    u64 memory_mb;
};

ret_t nvmlDeviceGetAttributes_v2(device_t device, struct attributes *out) {
    ENTER(device)
    memset(out, 0, sizeof *out);
    ret_t ret = small(of(device, "gpu_slices"), &out->gpu_slices);
    small(of(device, "compute_slices"), &out->compute_slices);
    small(of(device, "multiprocessors"), &out->multiprocessors);
    out->memory_mb = or_none(of(device, "memory_total")) >> 20;
    return ret;
}

/* --- where it sits ----------------------------------------------------------------------------------------------- */

struct pci {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
};

/* pci_bus_id 00000000:3B:00.0 */
ret_t nvmlDeviceGetPciInfo_v3(device_t device, struct pci *out) {
    ENTER(device)
    const char *value = of(device, "pci_bus_id");
    memset(out, 0, sizeof *out);
    if (!value)
        return NOT_SUPPORTED;
    sscanf(value, "%x:%x:%x", &out->domain, &out->bus, &out->device);
    snprintf(out->bus_id, sizeof out->bus_id, "%s", value);
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", out->domain & 0xffff, out->bus & 0xff,
             out->device & 0xff);
    return SUCCESS;
}

/* numa NODE; GPUs without one are said to be far from each other */
ret_t nvmlDeviceGetTopologyCommonAncestor(device_t one, device_t two, unsigned *out) {
    ENTER(one)
    const char *left = of(one, "numa"), *right = of(two, "numa");
    if (!left || !right)
        return NOT_SUPPORTED;
    *out = strcmp(left, right) ? 50 : 40;
    return SUCCESS;
}

/* nvlink GROUP: GPUs of a group are joined */
ret_t nvmlDeviceGetP2PStatus(device_t one, device_t two, unsigned what, unsigned *out) {
    ENTER(one)
    const char *left = of(one, "nvlink"), *right = of(two, "nvlink");
    *out = what == 2 && left && right && !strcmp(left, right) ? 0 : 5;
    return SUCCESS;
}

/* --- processes --------------------------------------------------------------------------------------------------- */

struct process {
    unsigned pid;
    u64 memory;
    unsigned gpu_instance, compute_instance;
};

/* process PID BYTES (or -1 for "not available"); mps_process and graphics_process likewise */
static ret_t processes(device_t device, const char *key, unsigned *count, struct process *out) {
    unsigned found = 0, room = *count;
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == device->gpu && lines[i].mig == device->mig && !strcmp(lines[i].key, key)) {
            if (out && found < room) {
                long long bytes = 0;
                sscanf(lines[i].value, "%u %lld", &out[found].pid, &bytes);
                out[found].memory = (u64)bytes;
                out[found].gpu_instance = out[found].compute_instance = 0xffffffff;
            }
            found++;
        }
    *count = found;
    return found > room || (found && !out) ? INSUFFICIENT_SIZE : SUCCESS;
}

#define PROCESSES(function, key)                                                                                       \
    ret_t function(device_t device, unsigned *count, struct process *out) {                                            \
        ENTER(device) return processes(device, key, count, out);                                                       \
    }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "process")
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "process")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, "mps_process")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, "mps_process")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics_process")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, "graphics_process")

struct sample {
    unsigned pid;
    u64 timestamp;
    unsigned sm, memory, encoder, decoder;
};

/* process_utilization PID SM MEMORY ENCODER DECODER TIMESTAMP; one below 0 is so many microseconds ago */
ret_t nvmlDeviceGetProcessUtilization(device_t device, struct sample *out, unsigned *count, u64 since) {
    ENTER(device)
    unsigned found = 0, room = *count;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < line_count; i++)
        if (lines[i].gpu == device->gpu && lines[i].mig == device->mig && !strcmp(lines[i].key, "process_utilization")) {
            struct sample sample;
            long long timestamp = 0;
            memset(&sample, 0, sizeof sample);
            sscanf(lines[i].value, "%u %u %u %u %u %lld", &sample.pid, &sample.sm, &sample.memory, &sample.encoder,
                   &sample.decoder, &timestamp);
            if (timestamp < 0)
                timestamp += now.tv_sec * 1000000LL + now.tv_nsec / 1000;
            sample.timestamp = (u64)timestamp;
            if (sample.timestamp <= since)
                continue;
            if (out && found < room)
                out[found] = sample;
            found++;
        }
    *count = found;
    if (!found)
        return NOT_FOUND;
    return !out || found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

struct event {
    device_t device;
    u64 type, data;
    unsigned gpu_instance, compute_instance;
};

static char event_set;

ret_t nvmlEventSetCreate(void **out) {
    ENTER(NULL)
    *out = &event_set;
    return SUCCESS;
}

ret_t nvmlEventSetFree(void *set) {
    (void)set;
    ENTER(NULL)
    return SUCCESS;
}

ret_t nvmlDeviceRegisterEvents(device_t device, u64 types, void *set) {
    (void)set;
    ENTER(device)
    return types & ~or_none(of(device, "event_types")) ? NOT_SUPPORTED : SUCCESS;
}

/* event TYPE DATA; each line is told once */
ret_t nvmlEventSetWait_v2(void *set, struct event *out, unsigned timeout) {
    (void)set;
    (void)timeout;
    ENTER(NULL)
    for (int gpu = 0; gpu < gpu_count; gpu++) {
        int seen = 0;
        for (int i = 0; i < line_count; i++)
            if (lines[i].gpu == gpu && !strcmp(lines[i].key, "event") && seen++ == delivered[gpu]) {
                delivered[gpu]++;
                memset(out, 0, sizeof *out);
                out->device = handle(gpu, -1);
                sscanf(lines[i].value, "%llu %llu", &out->type, &out->data);
                return SUCCESS;
            }
    }
    return TIMEOUT;
}
