# unirun_embed_text(VARIABLE_FOR_SOURCE NAME FILE) writes a .cpp that holds FILE as
# unirun::embedded::NAME, anew whenever FILE changes, and gives its path.
include_guard()

set(UNIRUN_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(unirun_embed_text result name file)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/embedded_${name}.cpp)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DFILE=${file} -DOUTPUT=${output} -P ${UNIRUN_EMBED_SCRIPT}
    DEPENDS ${file} ${UNIRUN_EMBED_SCRIPT} VERBATIM)
  set(${result} ${output} PARENT_SCOPE)
endfunction()

# The script half: bytes as numbers, since no string literal is long enough everywhere.
if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE AND DEFINED OUTPUT)
  file(READ ${FILE} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  file(WRITE ${OUTPUT} "// Made from ${FILE} by cmake/embed_text.cmake.\n#include <string_view>\n"
    "namespace unirun::embedded {\n"
    "namespace {\nconstexpr unsigned char ${NAME}_bytes[] = {${bytes}};\n}\n"
    "extern const std::string_view ${NAME};\n"
    "const std::string_view ${NAME}{reinterpret_cast<const char*>(${NAME}_bytes), sizeof ${NAME}_bytes};\n}\n")
endif()
