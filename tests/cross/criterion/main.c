#include <criterion/criterion.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

static struct cr_test *tests, **last = &tests;
static jmp_buf after_failure;

void cr_add(struct cr_test *test)
{
    *last = test;
    last = &test->next;
}

void cr_fail(const char *file, int line, const char *what, const char *format, ...)
{
    va_list arguments;
    printf("# %s:%d: failed: %s\n# ", file, line, what);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    longjmp(after_failure, 1);
}

static int passes(const struct cr_test *test)
{
    if (setjmp(after_failure))
        return 0;
    test->run();
    return 1;
}

int main(void)
{
    int count = 0, failures = 0;
    for (const struct cr_test *t = tests; t; t = t->next)
        count++;
    printf("1..%d\n", count);
    count = 0;
    for (const struct cr_test *t = tests; t; t = t->next) {
        const int passed = passes(t);
        printf("%s %d - %s\n", passed ? "ok" : "not ok", ++count, t->name);
        fflush(stdout);
        failures += !passed;
    }
    return failures != 0;
}
