// unirun._forking: what the template process (_template.py) cannot say in Python. Small, and apart
// from unirun._core: every worker that is forked carries along what its template has loaded.
//
// How a worker comes to be a child of the host, and not of the template: a helper that shares the
// template's memory (vfork) forks the worker and ends at once; the kernel hands the orphan to the
// host, which is a sub-reaper. So the fork is libc's own: its books about threads are right, and
// what libraries have registered with pthread_atfork is called. A clone with CLONE_PARENT would
// save the helper (0.1 ms) and do neither.

#define PY_SSIZE_T_CLEAN
#include <Python.h>
// Python.h first.

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace {

constexpr std::size_t max_message = std::size_t{64} << 10;
constexpr std::size_t max_descriptors = 8;

// ---- Marks ----

// Where the value of a variable stands in the block that this process was started with: what
// /proc/PID/environ shows. The host gives the template values of a fixed width.
struct Mark {
  char* value = nullptr;
  std::size_t width = 0;

  // Right-aligned, filled up with zeros.
  void write(const char* text, std::size_t length) const {
    if (value == nullptr || length > width) return;
    std::memset(value, '0', width - length);
    std::memcpy(value + (width - length), text, length);
  }
};

Mark launch_mark;
Mark run_mark;

// Fields 50 and 51 of /proc/self/stat; see proc(5).
bool environment_block(char*& begin, char*& end) {
  std::array<char, 2048> text{};
  const int descriptor = ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const ssize_t count = ::read(descriptor, text.data(), text.size() - 1);
  ::close(descriptor);
  if (count <= 0) return false;
  const char* place = std::strrchr(text.data(), ')');
  unsigned long from = 0;
  unsigned long to = 0;
  for (int field = 2; place != nullptr && field < 50; ++field) place = std::strchr(place + 1, ' ');
  if (place == nullptr || std::sscanf(place, "%lu %lu", &from, &to) != 2) return false;
  begin = reinterpret_cast<char*>(from);
  end = reinterpret_cast<char*>(to);
  return begin != nullptr && begin < end;
}

Mark find_mark(char* begin, const char* end, std::string_view name) {
  while (begin < end) {
    const std::size_t length = ::strnlen(begin, static_cast<std::size_t>(end - begin));
    const std::string_view entry(begin, length);
    if (entry.substr(0, name.size()) == name) return {begin + name.size(), length - name.size()};
    begin += length + 1;
  }
  return {};
}

// find_marks() -> bool: whether this process has them. Call it before anything else can have moved
// the block.
PyObject* find_marks(PyObject*, PyObject*) {
  char* begin = nullptr;
  char* end = nullptr;
  if (environment_block(begin, end)) {
    launch_mark = find_mark(begin, end, "UNIRUN_LAUNCH=");
    run_mark = find_mark(begin, end, "UNIRUN_RUN=");
  }
  return PyBool_FromLong(launch_mark.value != nullptr && run_mark.value != nullptr);
}

// ---- fork ----

// Set once the kernel has handed us to the host; a host that is gone by now will send nothing.
bool die_with_host(pid_t helper, pid_t host) {
  while (::getppid() == helper) ::sched_yield();
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == host;
}

// A worker's descriptors, from where they arrived to the places that they are known by; and those
// that are the template's alone.
struct Descriptors {
  std::array<int, max_descriptors> sources{};
  std::array<int, max_descriptors> places{};
  std::size_t count = 0;
  std::array<int, max_descriptors> closing{};
  std::size_t closing_count = 0;

  void take_places() const {
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_standard = places[i] <= STDERR_FILENO;
      ::dup3(sources[i], places[i], is_standard ? 0 : O_CLOEXEC);
      ::close(sources[i]);
      if (!is_standard) ::fcntl(places[i], F_SETFL, O_NONBLOCK);  // As Channel wants it.
    }
    for (std::size_t i = 0; i < closing_count; ++i) ::close(closing[i]);
  }
};

bool take_numbers(PyObject* list, std::array<int, max_descriptors>& into, std::size_t& count) {
  count = static_cast<std::size_t>(PyList_GET_SIZE(list));
  if (count > into.size()) {
    PyErr_SetString(PyExc_ValueError, "too many descriptors");
    return false;
  }
  for (std::size_t i = 0; i < count; ++i) {
    into[i] = static_cast<int>(PyLong_AsLong(PyList_GET_ITEM(list, static_cast<Py_ssize_t>(i))));
    if (into[i] < 0) {
      if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_ValueError, "not a descriptor");
      return false;
    }
  }
  return true;
}

// fork(launch, run, descriptors, places, closing) -> (pid, pidfd); (0, -1) in the worker, which
// then has a group, marks, a death signal, and its descriptors in their places. All of that is done
// here, for each page that Python touches in the worker is copied first (2 us and more).
PyObject* fork_worker(PyObject*, PyObject* arguments) {
  const char* launch = nullptr;
  const char* run = nullptr;
  Py_ssize_t launch_length = 0;
  Py_ssize_t run_length = 0;
  PyObject* sources = nullptr;
  PyObject* places = nullptr;
  PyObject* closing = nullptr;
  if (PyArg_ParseTuple(arguments, "s#s#O!O!O!", &launch, &launch_length, &run, &run_length,
                       &PyList_Type, &sources, &PyList_Type, &places, &PyList_Type,
                       &closing) == 0) {
    return nullptr;
  }
  Descriptors descriptors;
  std::size_t place_count = 0;
  if (!take_numbers(sources, descriptors.sources, descriptors.count) ||
      !take_numbers(places, descriptors.places, place_count) ||
      !take_numbers(closing, descriptors.closing, descriptors.closing_count)) {
    return nullptr;
  }
  if (place_count != descriptors.count) {
    PyErr_SetString(PyExc_ValueError, "a place for each descriptor");
    return nullptr;
  }
  const pid_t host = ::getppid();
  volatile pid_t worker = -1;
  volatile int error = 0;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  PyOS_BeforeFork();
  // A handler that ran in the helper would run in the template's memory.
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t helper = ::vfork();
  if (helper == 0) {
    const pid_t self = ::getpid();
    const pid_t forked = ::fork();
    if (forked != 0) {
      error = errno;
      worker = forked;
      // Here as well, so that the host finds the group as soon as it hears of the worker.
      if (forked > 0) ::setpgid(forked, forked);
      ::_exit(0);
    }
    ::setpgid(0, 0);
    launch_mark.write(launch, static_cast<std::size_t>(launch_length));
    run_mark.write(run, static_cast<std::size_t>(run_length));
    descriptors.take_places();
    if (!die_with_host(self, host)) ::_exit(1);
    PyOS_AfterFork_Child();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return Py_BuildValue("ii", 0, -1);
  }
  const int vfork_error = errno;
  if (helper > 0) ::waitpid(helper, nullptr, 0);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  PyOS_AfterFork_Parent();
  if (worker < 0) {
    errno = helper < 0 ? vfork_error : error;
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, worker, 0));
  if (pidfd < 0) return PyErr_SetFromErrno(PyExc_OSError);
  return Py_BuildValue("ii", static_cast<int>(worker), pidfd);
}

// ---- The channel to the host: packets of text, with descriptors ----

// receive(channel) -> (bytes, list of descriptors); empty bytes once the host is gone.
PyObject* receive(PyObject*, PyObject* argument) {
  const int channel = static_cast<int>(PyLong_AsLong(argument));
  if (channel == -1 && PyErr_Occurred() != nullptr) return nullptr;
  static std::array<char, max_message> text;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(max_descriptors * sizeof(int))> control{};
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ssize_t count = -1;
  while (count < 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    Py_BEGIN_ALLOW_THREADS;
    count = ::recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    Py_END_ALLOW_THREADS;
    if (count >= 0) break;
    if (errno != EINTR) return PyErr_SetFromErrno(PyExc_OSError);
    if (PyErr_CheckSignals() != 0) return nullptr;
  }
  PyObject* descriptors = PyList_New(0);
  if (descriptors == nullptr) return nullptr;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t number = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < number; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof descriptor);
      PyObject* value = PyLong_FromLong(descriptor);
      if (value == nullptr || PyList_Append(descriptors, value) != 0) {
        Py_XDECREF(value);
        Py_DECREF(descriptors);
        return nullptr;
      }
      Py_DECREF(value);
    }
  }
  return Py_BuildValue("y#N", text.data(), static_cast<Py_ssize_t>(count), descriptors);
}

// send(channel, bytes, descriptor): a descriptor of -1 is none.
PyObject* send(PyObject*, PyObject* arguments) {
  int channel = -1;
  const char* text = nullptr;
  Py_ssize_t length = 0;
  int descriptor = -1;
  if (PyArg_ParseTuple(arguments, "iy#i", &channel, &text, &length, &descriptor) == 0) {
    return nullptr;
  }
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  iovec part{const_cast<char*>(text), static_cast<std::size_t>(length)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  }
  ssize_t sent = -1;
  do {
    sent = ::sendmsg(channel, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return PyErr_SetFromErrno(PyExc_OSError);
  Py_RETURN_NONE;
}

// ---- Files that change ----

// watch_files(list of paths) -> descriptor that is readable once one of them may have changed.
PyObject* watch_files(PyObject*, PyObject* paths) {
  const int watch = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (watch < 0) return PyErr_SetFromErrno(PyExc_OSError);
  constexpr std::uint32_t changes =
      IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF | IN_CLOSE_WRITE;
  const Py_ssize_t count = PySequence_Size(paths);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PySequence_GetItem(paths, i);
    PyObject* path = nullptr;
    const bool converted = item != nullptr && PyUnicode_FSConverter(item, &path) != 0;
    Py_XDECREF(item);
    if (!converted) {
      ::close(watch);
      return nullptr;
    }
    const int added = ::inotify_add_watch(watch, PyBytes_AS_STRING(path), changes);
    Py_DECREF(path);
    if (added < 0 && errno != ENOENT) {
      PyErr_SetFromErrno(PyExc_OSError);
      ::close(watch);
      return nullptr;
    }
  }
  return PyLong_FromLong(watch);
}

// ---- The board of deaths (executors/process/death_board.h) ----

char* board = nullptr;
std::size_t board_size = 0;

// map_board(descriptor): before the first fork, so that all workers have it.
PyObject* map_board(PyObject*, PyObject* argument) {
  const int descriptor = static_cast<int>(PyLong_AsLong(argument));
  struct stat status {};
  if (::fstat(descriptor, &status) < 0) return PyErr_SetFromErrno(PyExc_OSError);
  void* memory = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ | PROT_WRITE,
                        MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
  board = static_cast<char*>(memory);
  board_size = static_cast<std::size_t>(status.st_size);
  Py_RETURN_NONE;
}

// hold(offset): this thread holds the robust mutex there until it dies.
PyObject* hold(PyObject*, PyObject* argument) {
  const std::size_t offset = PyLong_AsSize_t(argument);
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (offset + sizeof(pthread_mutex_t) > board_size) {
    PyErr_SetString(PyExc_ValueError, "no such place on the board");
    return nullptr;
  }
  errno = ::pthread_mutex_lock(reinterpret_cast<pthread_mutex_t*>(board + offset));
  if (errno != 0) return PyErr_SetFromErrno(PyExc_OSError);
  Py_RETURN_NONE;
}

std::array<PyMethodDef, 8> methods{{
    {"find_marks", find_marks, METH_NOARGS, nullptr},
    {"fork", fork_worker, METH_VARARGS, nullptr},
    {"receive", receive, METH_O, nullptr},
    {"send", send, METH_VARARGS, nullptr},
    {"watch_files", watch_files, METH_O, nullptr},
    {"map_board", map_board, METH_O, nullptr},
    {"hold", hold, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
}};

PyModuleDef definition{PyModuleDef_HEAD_INIT,
                       "_forking",
                       "What the template process cannot say in Python; see _forking.pyi.",
                       -1,
                       methods.data(),
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__forking() { return PyModule_Create(&definition); }
