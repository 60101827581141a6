/* test_cpus.c - usable CPUs from texts, and from whole fake trees of /proc and /sys. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cpus.h"
#include "tests/unit/runner.h"

START_TEST(cpu_max)
{
    ck_assert_uint_eq(cpus_parse_max("max 100000\n"), 0);
    ck_assert_uint_eq(cpus_parse_max("100000 100000\n"), 1);
    ck_assert_uint_eq(cpus_parse_max("150000 100000\n"), 2);
    ck_assert_uint_eq(cpus_parse_max("1000 100000\n"), 1);
    ck_assert_uint_eq(cpus_parse_max("400001 100000"), 5);
    ck_assert_uint_eq(cpus_parse_max("100000"), 0);
    ck_assert_uint_eq(cpus_parse_max("100000 0"), 0);
    ck_assert_uint_eq(cpus_parse_max("-1 100000"), 0);
    ck_assert_uint_eq(cpus_parse_max(""), 0);
    ck_assert_uint_eq(cpus_parse_max("99999999999999999999999 1"), 0);
    ck_assert_uint_eq(cpus_parse_max("18446744073709551615 1"), 0);
    ck_assert_uint_eq(cpus_parse_max("18446744073709551615 18446744073709551615"), 1);
}
END_TEST

START_TEST(cfs_quota)
{
    ck_assert_uint_eq(cpus_parse_cfs("-1\n", "100000\n"), 0);
    ck_assert_uint_eq(cpus_parse_cfs("250000\n", "100000\n"), 3);
    ck_assert_uint_eq(cpus_parse_cfs("x", "100000\n"), 0);
}
END_TEST

static void group(const char *text, const char *controller, const char *want)
{
    AUTO_FREE char *got = cpus_parse_cgroup(text, controller);
    if (want == NULL)
        ck_assert_ptr_null(got);
    else
        ck_assert_str_eq(got, want);
}

START_TEST(proc_cgroup)
{
    static const char hybrid[] =
        "12:cpuset:/a\n4:cpu,cpuacct:/docker/b\n1:name=systemd:/c:d\n0::/user.slice\n";
    group(hybrid, NULL, "/user.slice");
    group(hybrid, "cpu", "/docker/b");
    group(hybrid, "cpuset", "/a");
    group(hybrid, "name=systemd", "/c:d");
    group(hybrid, "memory", NULL);
    group("0::/", NULL, "/");
    group("", NULL, NULL);
    group("nonsense\n:\n::", NULL, NULL);
}
END_TEST

START_TEST(mountinfo)
{
    static const char text[] =
        "22 28 0:20 / /proc rw - proc proc rw\n"
        "30 23 0:26 / /sys/fs/cgroup/uni\\040fied rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        "31 23 0:27 /docker/b /sys/fs/cgroup/cpu,cpuacct rw shared:5 master:2 - cgroup cgroup "
        "rw,cpu,cpuacct\n"
        "32 23 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "33 short\n";
    char *dir, *root;
    ck_assert_int_eq(cpus_parse_mount(text, NULL, &dir, &root), 0);
    ck_assert_str_eq(dir, "/sys/fs/cgroup/uni fied");
    ck_assert_str_eq(root, "/");
    free(dir);
    free(root);
    ck_assert_int_eq(cpus_parse_mount(text, "cpu", &dir, &root), 0);
    ck_assert_str_eq(dir, "/sys/fs/cgroup/cpu,cpuacct");
    ck_assert_str_eq(root, "/docker/b");
    free(dir);
    free(root);
    ck_assert_int_lt(cpus_parse_mount(text, "memory", &dir, &root), 0);
    ck_assert_int_lt(cpus_parse_mount("", NULL, &dir, &root), 0);
}
END_TEST

static void decided(unsigned configured, unsigned affinity, unsigned quota, unsigned count, const char *from)
{
    struct cpus c = cpus_decide(configured, affinity, quota);
    ck_assert_uint_eq(c.count, count);
    ck_assert_str_eq(c.from, from);
}

START_TEST(the_least_decides)
{
    decided(0, 8, 0, 8, "affinity");
    decided(0, 8, 3, 3, "cpu.max");
    decided(0, 2, 3, 2, "affinity");
    decided(0, 2, 2, 2, "affinity");
    decided(5, 2, 1, 5, "config");
    decided(0, 0, 0, 1, "affinity");
    decided(0, 0, 4, 4, "cpu.max");
}
END_TEST

/* ---- fake trees ---- */

static char tree[] = "/tmp/pwc-cpus-XXXXXX";

static void put(const char *path, const char *text)
{
    AUTO_FREE char *full = xasprintf("%s%s", tree, path);
    for (char *p = full + strlen(tree) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    FILE *f = fopen(full, "we");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(tree));
}

static void teardown(void)
{
    AUTO_FREE char *cmd = xasprintf("rm -rf '%s'", tree);
    ck_assert_int_eq(system(cmd), 0);
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

START_TEST(v2_ancestors_count)
{
    put("/proc/self/cgroup", "0::/a/b/c\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 0);
    put("/sys/fs/cgroup/a/b/c/cpu.max", "900000 100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 9);
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 3);
}
END_TEST

/* A container with a group namespace sees its own group as the root of the hierarchy. */
START_TEST(v2_namespace_root)
{
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 1);
}
END_TEST

START_TEST(path_outside_the_mount)
{
    put("/proc/self/cgroup", "0::/../../other\n");
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 2);
}
END_TEST

/* docker on v1: mounted from the container's own group on, /proc still shows the host's path. */
START_TEST(v1_mounted_from_below)
{
    put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/b/inner\n");
    put("/proc/self/mountinfo",
        "31 23 0:27 /docker/b /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "600000\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 6);
    put("/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "150000\n");
    put("/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 2);
}
END_TEST

START_TEST(hybrid_takes_the_least_of_both)
{
    put("/proc/self/cgroup", "4:cpu:/x\n0::/x\n");
    put("/proc/self/mountinfo", V2_MOUNT "31 23 0:27 / /v1 rw - cgroup cgroup rw,cpu\n");
    put("/v1/x/cpu.cfs_quota_us", "300000\n");
    put("/v1/x/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 3);
    put("/sys/fs/cgroup/x/cpu.max", "200000 100000\n");
    ck_assert_uint_eq(cpus_quota(tree), 2);
}
END_TEST

START_TEST(nothing_there)
{
    ck_assert_uint_eq(cpus_quota(tree), 0);
    struct cpus c = cpus_usable(0, tree);
    ck_assert_uint_ge(c.count, 1);
    ck_assert_str_eq(c.from, "affinity");
    ck_assert_uint_eq(c.count, (unsigned)sysconf(_SC_NPROCESSORS_ONLN) < c.count ? 0 : c.count);
}
END_TEST

START_TEST(the_real_machine)
{
    struct cpus c = cpus_usable(0, "");
    ck_assert_uint_ge(c.count, 1);
    c = cpus_usable(3, "");
    ck_assert_uint_eq(c.count, 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpus");
    TCase *t = tcase_create("texts");
    tcase_add_test(t, cpu_max);
    tcase_add_test(t, cfs_quota);
    tcase_add_test(t, proc_cgroup);
    tcase_add_test(t, mountinfo);
    tcase_add_test(t, the_least_decides);
    suite_add_tcase(s, t);
    t = tcase_create("trees");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, v2_ancestors_count);
    tcase_add_test(t, v2_namespace_root);
    tcase_add_test(t, path_outside_the_mount);
    tcase_add_test(t, v1_mounted_from_below);
    tcase_add_test(t, hybrid_takes_the_least_of_both);
    tcase_add_test(t, nothing_there);
    tcase_add_test(t, the_real_machine);
    suite_add_tcase(s, t);
    return run_suite(s);
}
