/* What a program needs that runs under qemu-riscv32 or qemu-riscv64 without any library. */
#include <stdint.h>

int main(void);
int puts(const char *s);
void _start(void);

static long call(long number, long a, long b, long c)
{
    register long a7 __asm__("a7") = number;
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
}

int puts(const char *s)
{
    long n = 0;
    while (s[n]) {
        n++;
    }
    (void)call(64, 1, (long)(intptr_t)s, n);
    return 0;
}

void _start(void)
{
    __asm__ volatile(".option push\n.option norelax\nla gp, __global_pointer$\n.option pop");
    (void)call(93, main(), 0, 0);
    for (;;) {
    }
}
