#include "report/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct ht_terminal ht_terminal_of(FILE *file)
{
    struct ht_terminal ret = {0};
    int fd = fileno(file);
    if (fd < 0 || !isatty(fd))
        return ret;
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    if (term && strcmp(term, "dumb") == 0)
        return ret;
    ret.is_terminal = true;
    ret.color = !(no_color && *no_color);
    ret.width = 80;
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        ret.width = size.ws_col;
    return ret;
}
