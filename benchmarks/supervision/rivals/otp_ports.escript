#!/usr/bin/env escript
%%! +sbwt none +sbwtdcpu none +sbwtdio none
%% OTP's own supervisor over ports: a worker per program, which ends when its port does.
-mode(compile).
-export([init/1, start_worker/2]).

main([Count, Program]) ->
    process_flag(trap_exit, true),
    {ok, Supervisor} = supervisor:start_link(?MODULE, {list_to_integer(Count), Program}),
    Watcher = self(),
    spawn_link(fun() -> read_until_closed(Watcher) end),
    receive
        stop -> exit(Supervisor, shutdown), receive {'EXIT', Supervisor, _} -> ok end;
        {'EXIT', Supervisor, Reason} -> io:format(standard_error, "ended: ~p~n", [Reason])
    end,
    halt(0).

read_until_closed(Watcher) ->
    case io:get_line("") of
        eof -> Watcher ! stop;
        _ -> read_until_closed(Watcher)
    end.

init({Count, Program}) ->
    Flags = #{strategy => one_for_one, intensity => 1000000, period => 1},
    {ok, {Flags, [#{id => I, start => {?MODULE, start_worker, [I, Program]}, shutdown => brutal_kill}
                  || I <- lists:seq(0, Count - 1)]}}.

start_worker(Id, Program) ->
    proc_lib:start_link(erlang, apply, [fun worker/2, [Id, Program]]).

worker(Id, Program) ->
    Port = open_port({spawn_executable, Program}, [{args, [integer_to_list(Id)]}, exit_status, {line, 100}]),
    proc_lib:init_ack({ok, self()}),
    receive {Port, {exit_status, Status}} -> exit({status, Status}) end.
