// What is read of a command: `.text()` and its like give one. command.ts makes it.

/**
 * A promise that says when somebody asks for what came of it. Until then its failure is nobody's yet: it is no unhandled
 * rejection, which would end the coordinator with all that it does, and the command tells it at the function's end.
 */
export class Reading<Value> extends Promise<Value> {
  readonly #onHeard: () => void;

  constructor(value: Promise<Value>, onHeard: () => void) {
    super((resolve) => resolve(value));
    this.#onHeard = onHeard;
    super.then(undefined, () => {});
  }

  /** What is made of it is a plain promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a promise.
  override then<Then = Value, Else = never>(
    onDone?: ((value: Value) => Then | PromiseLike<Then>) | null,
    onFailed?: ((error: unknown) => Else | PromiseLike<Else>) | null,
  ): Promise<Then | Else> {
    this.#onHeard();
    return super.then(onDone, onFailed);
  }
}
