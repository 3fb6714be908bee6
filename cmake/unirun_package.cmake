# Installs the CMake package, so that a program outside the tree says find_package(unirun).
include(CMakePackageConfigHelpers)
set(unirun_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/unirun)
install(EXPORT unirun_targets NAMESPACE unirun:: DESTINATION ${unirun_package_dir}
  COMPONENT development)
if(TARGET unirun_python)  # find_package(unirun COMPONENTS python): for one version of Python.
  install(EXPORT unirun_python_targets NAMESPACE unirun:: DESTINATION ${unirun_package_dir}
    COMPONENT development)
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/unirun-config.cmake.in
  ${CMAKE_BINARY_DIR}/unirun-config.cmake INSTALL_DESTINATION ${unirun_package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/unirun-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/unirun-config.cmake ${CMAKE_BINARY_DIR}/unirun-config-version.cmake
  DESTINATION ${unirun_package_dir} COMPONENT development)
