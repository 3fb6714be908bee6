# unirun_floor(NAME USES floor... LINKS target... SOURCES ... TESTS ... EXPORT set) makes the library
# unirun::NAME with the project's warnings and, from TESTS, the doctest program NAME_test
# whose cases are known to ctest by name. It is exported with the others, unless EXPORT names a set of its own.
include_guard()

function(unirun_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
    -Woverloaded-virtual $<$<BOOL:${UNIRUN_WERROR}>:-Werror>
    # gcc takes a file that a unity build includes for a header, whose types must not lean on nameless ones.
    $<$<AND:$<BOOL:${CMAKE_UNITY_BUILD}>,$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>)
endfunction()

# Compiling half of what a file is made of once per target takes half of the time away.
option(UNIRUN_PRECOMPILE "Precompile the headers that nearly every file includes" OFF)
function(unirun_precompile target)
  if(UNIRUN_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/precompiled.h)
  endif()
endfunction()

# What every test program begins with, and its precompiled headers: once for all of them.
function(unirun_test_main)
  if(TARGET unirun_test_main)
    return()
  endif()
  add_library(unirun_test_main OBJECT ${CMAKE_SOURCE_DIR}/tests/doctest_main.cpp)
  target_link_libraries(unirun_test_main PUBLIC doctest::doctest)
  unirun_warnings(unirun_test_main)
  unirun_precompile(unirun_test_main)
endfunction()

function(unirun_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  if(NOT UNIRUN_BUILD_TESTS)
    return()
  endif()
  unirun_test_main()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} unirun_test_main)
  unirun_warnings(${name})
  if(UNIRUN_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM unirun_test_main)
  endif()
  # Each test file has helpers of its own, by the same short names.
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  doctest_discover_tests(${name} TEST_PREFIX "${name}: ")
endfunction()

function(unirun_floor name)
  cmake_parse_arguments(ARG "" "EXPORT" "USES;LINKS;PRIVATE_LINKS;SOURCES;TESTS" ${ARGN})
  if(NOT ARG_EXPORT)
    set(ARG_EXPORT unirun_targets)
  endif()
  add_library(unirun_${name} STATIC ${ARG_SOURCES})
  add_library(unirun::${name} ALIAS unirun_${name})
  set_target_properties(unirun_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(unirun_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>
    # Headers name each other from the root; a program outside says "unirun/host/host.h".
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/unirun>)
  list(TRANSFORM ARG_USES PREPEND unirun_)
  target_link_libraries(unirun_${name} PUBLIC ${ARG_USES} ${ARG_LINKS})
  # A private dependency of a static library still has to reach the final link.
  target_link_libraries(unirun_${name} PRIVATE ${ARG_PRIVATE_LINKS})
  target_compile_features(unirun_${name} PUBLIC cxx_std_20)
  unirun_warnings(unirun_${name})
  unirun_precompile(unirun_${name})
  if(ARG_TESTS)
    unirun_test(${name}_test SOURCES ${ARG_TESTS} LINKS unirun_${name})
  endif()
  install(TARGETS unirun_${name} EXPORT ${ARG_EXPORT} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/unirun/${folder}
    FILES_MATCHING PATTERN "*.h")
endfunction()
