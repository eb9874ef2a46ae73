/* Prints how many GPUs NVML counts. */
#include <dlfcn.h>
#include <stdio.h>

int main(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*init)(void) = (int (*)(void))dlsym(library, "nvmlInit_v2");
    int (*get_count)(unsigned *) = (int (*)(unsigned *))dlsym(library, "nvmlDeviceGetCount_v2");
    unsigned count = 0;
    int failed = init() || get_count(&count);
    if (failed) {
        fprintf(stderr, "NVML failed\n");
        return 2;
    }
    printf("%u\n", count);
    return 0;
}
