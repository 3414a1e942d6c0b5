/* Classifies images on a Cortex-M4, as a device with a sensor would: wait for a sample, run the
 * network, report the class. The sensor is a file on the host, and reports go to the host, by
 * semihosting (README.md). */
#include <semihost.h>
#include <stdint.h>

#include "net.h"

#define HEADER    16 /* bytes in front of the images of an IDX file */
#define FILE_NAME "images"

static const char *const class_names[] = HT_NET_CLASSES;

/* All the memory that the network needs, beside some 100 bytes of stack. */
static net_input input[HT_NET_INPUTS];
static net_output output[HT_NET_OUTPUTS];
static uint8_t arena[HT_NET_ARENA_BYTES];

/* 0 when there are no more samples. */
static int read_sensor(int sensor, net_input *sample)
{
    /* what was not read */
    return sys_semihost_read(sensor, sample, HT_NET_INPUTS) == 0;
}

static void report(const char *class_name)
{
    sys_semihost_write0(class_name);
    sys_semihost_write0("\n");
}

int main(void)
{
    if (net_selftest(input, output, arena) != 0) {
        sys_semihost_write0("the network does not work here\n");
        return 1;
    }
    const int sensor = (int)sys_semihost_open(FILE_NAME, SH_OPEN_R_B);
    if (sensor < 0) {
        sys_semihost_write0("there is no file " FILE_NAME "\n");
        return 1;
    }
    sys_semihost_seek(sensor, HEADER);
    while (read_sensor(sensor, input)) {
        net_run(input, output, arena);
        report(class_names[net_classify(output)]);
    }
    sys_semihost_close(sensor);
    return 0;
}
