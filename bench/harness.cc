// SPDX-License-Identifier: MIT
//
// harness.cc - Google Benchmark behind the C interface of harness.h; the only C++ here.
//
//     rows --list                     name and threads of every row, a line each
//     rows NAME [SECONDS] [--wait]    runs that row and prints one line of results
//
// The line: done ns=PER_OPERATION cpu=PER_OPERATION ops=COUNT start=BYTES peak=BYTES KEY=VALUE...
// ns is wall time, cpu the time of all threads of the process, the allocator's own among them;
// start is what was resident before the row began, peak the most until its end.  With --wait the
// program then waits for a byte on standard input, so that it can be looked at while it is idle.
#include "harness.h"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct bench {
    benchmark::State *state;
    const bench_row *row;
    bool second_half;
};

namespace
{

// Plain arrays: nothing here shall need the allocator while a row runs.
enum { MAX_ROWS = 200, MAX_RESULTS = 40, TEXT_BYTES = 1 << 16 };
const double WARM_UP_SHARE = 0.5; // of the time that counts

const bench_row *all_rows[MAX_ROWS];
size_t row_count;

char result_key[MAX_RESULTS][32];
double result_value[MAX_RESULTS];
const char *result_text[MAX_RESULTS];
size_t result_count;
char text_space[TEXT_BYTES];
size_t text_used;

const bench_row *row_to_run;

size_t slot_of(const char *key)
{
    size_t at = 0;
    while (at < result_count && strcmp(result_key[at], key) != 0)
        at++;
    if (at == MAX_RESULTS || strlen(key) >= sizeof result_key[at])
        bench_fail("too many results, or too long a key");
    if (at == result_count) {
        snprintf(result_key[at], sizeof result_key[at], "%s", key);
        result_count++;
    }
    return at;
}

uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// Without stdio, which would allocate.
size_t read_file(const char *path, char *buffer, size_t bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, buffer, bytes - 1);
    if (got < 0)
        bench_fail(path);
    close(file);
    buffer[got] = '\0';
    return (size_t)got;
}

size_t resident_bytes()
{
    char text[128];
    read_file("/proc/self/statm", text, sizeof text);
    const char *second = strchr(text, ' ');
    return second == NULL ? 0 : strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

// Not getrusage: its peak begins with that of the process we were forked from.
size_t peak_bytes()
{
    char text[4096];
    read_file("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, "\nVmHWM:");
    return line == NULL ? 0 : strtoul(line + 7, NULL, 10) * 1024;
}

void run_body(benchmark::State &state)
{
    bench b = {&state, row_to_run, false};
    row_to_run->body(&b);
    state.SetItemsProcessed(b.second_half ? 0 : state.iterations());
}

class Keeper : public benchmark::BenchmarkReporter
{
  public:
    double ns = 0, cpu = 0, ops = 0;

    bool ReportContext(const Context &) override { return true; }

    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs) {
            // Operations of all threads by wall time, which every version counts alike.
            auto rate = run.counters.find("items_per_second");
            if (rate == run.counters.end() || rate->second.value <= 0)
                continue;
            ns = 1e9 / rate->second.value;
            ops = run.real_accumulated_time * rate->second.value;
            cpu = run.cpu_accumulated_time / ops * 1e9;
        }
    }
};

void list_rows()
{
    for (size_t i = 0; i < row_count; i++)
        printf("%s\t%d\n", all_rows[i]->name, all_rows[i]->threads);
}

void run_row(const bench_row *row, double seconds)
{
    row_to_run = row;
    size_t start = resident_bytes();
    double wanted = row->seconds > 0 ? row->seconds : seconds;
    Keeper keeper;
    if (row->begin != NULL)
        row->begin(row);
    benchmark::internal::Benchmark *one = benchmark::RegisterBenchmark("row", run_body);
    one->Threads(row->threads > 0 ? row->threads : 1)->UseRealTime()->MeasureProcessCPUTime();
    // The first calls take new memory from the kernel; whether they count shall not hang on how
    // fast the machine is.
    if (row->operations > 0)
        one->Iterations(row->operations);
    else
        one->MinTime(wanted)->MinWarmUpTime(wanted * WARM_UP_SHARE);
    benchmark::RunSpecifiedBenchmarks(&keeper);
    if (row->end != NULL)
        row->end(row);
    if (keeper.ops <= 0)
        bench_fail("the row made no operation");
    printf("done ns=%.6g cpu=%.6g ops=%.0f start=%zu peak=%zu", keeper.ns, keeper.cpu, keeper.ops,
           start, peak_bytes());
    for (size_t i = 0; i < result_count; i++) {
        if (result_text[i] != NULL)
            printf(" %s=%s", result_key[i], result_text[i]);
        else
            printf(" %s=%.6g", result_key[i], result_value[i]);
    }
    printf("\n");
    fflush(stdout);
}

} // namespace

extern "C" {

bool bench_more(struct bench *b, size_t operations)
{
    return b->state->KeepRunningBatch((benchmark::IterationCount)operations);
}

void bench_pause(struct bench *b)
{
    b->state->PauseTiming();
}

void bench_resume(struct bench *b)
{
    b->state->ResumeTiming();
}

void bench_is_second_half(struct bench *b)
{
    b->second_half = true;
}

size_t bench_size(const struct bench *b, int which)
{
    return (size_t)b->row->arg[which];
}

int bench_thread(const struct bench *b)
{
    return (int)b->state->thread_index();
}

void bench_result(const char *key, double value)
{
    result_value[slot_of(key)] = value;
}

void bench_result_text(const char *key, const char *value)
{
    size_t length = strlen(value) + 1;
    if (text_used + length > sizeof text_space)
        bench_fail("too much text in the results");
    result_text[slot_of(key)] = (char *)memcpy(text_space + text_used, value, length);
    text_used += length;
}

void bench_forget_peak(void)
{
    int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, "5", 1) != 1)
        bench_fail("/proc/self/clear_refs");
    close(file);
}

uint64_t bench_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void bench_fail(const char *what)
{
    fprintf(stderr, "rows: %s: %s\n", row_to_run != NULL ? row_to_run->name : "-", what);
    _exit(1);
}

void bench_add_rows(const struct bench_row *rows, size_t count)
{
    if (row_count + count > MAX_ROWS)
        bench_fail("more rows than MAX_ROWS");
    for (size_t i = 0; i < count; i++)
        all_rows[row_count++] = &rows[i];
}

} // extern "C"

int main(int argc, char **argv)
{
    double seconds = 0.25;
    bool wait = false;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list_rows();
        return 0;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--wait") == 0)
            wait = true;
        else
            seconds = strtod(argv[i], NULL);
    }
    for (size_t i = 0; i < row_count; i++) {
        if (argc > 1 && strcmp(argv[1], all_rows[i]->name) == 0) {
            run_row(all_rows[i], seconds);
            if (wait)
                (void)!getchar();
            return 0;
        }
    }
    fprintf(stderr, "rows: no such row; --list names them\n");
    return 2;
}
