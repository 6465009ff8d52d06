/* Written by tests/reference/coefficients.py, which has the mathematics. */
/* 22.8 bits */
#define EXP_REST_F(x) FMA_F(FMA_F(FMA_F(FMA_F(0x1.6d1606p-10f, x, 0x1.12106cp-7f), x, 0x1.555516p-5f), x, 0x1.5554d8p-3f), x, 0x1.000000p-1f)
/* 51.9 bits */
#define EXP_REST_D(x) FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(0x1.af3ce42b12b24p-26, x, 0x1.2894f52583578p-22), x, 0x1.71de0be2b5e96p-19), x, 0x1.a019b621f9d08p-16), x, 0x1.a01a01a83ba17p-13), x, 0x1.6c16c1794e1dcp-10), x, 0x1.1111111110918p-7), x, 0x1.5555555553b6cp-5), x, 0x1.5555555555556p-3), x, 0x1.0000000000001p-1)
/* 20.4 bits */
#define LOG1P_REST_F(x) FMA_F(FMA_F(0x1.32bed2p-2f, x, 0x1.996298p-2f), x, 0x1.555566p-1f)
/* 54.6 bits */
#define LOG1P_REST_D(x) FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(0x1.169c38cc826bep-3, x, 0x1.0e8c55b42945fp-3), x, 0x1.3b29d0452d426p-3), x, 0x1.745cac43cc003p-3), x, 0x1.c71c72df580fcp-3), x, 0x1.24924923de6edp-2), x, 0x1.9999999999f17p-2), x, 0x1.5555555555555p-1)
/* 21.7 bits */
#define LOG_REST_F(x) FMA_F(FMA_F(0x1.2f1c70p-2f, x, 0x1.997afap-2f), x, 0x1.55555cp-1f)
/* 50.8 bits */
#define LOG_REST_D(x) FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(FMA_D(0x1.2be6c99b32a48p-3, x, 0x1.39f2bba043e06p-3), x, 0x1.74630f3e18fa7p-3), x, 0x1.c71c61a40ddfbp-3), x, 0x1.2492492eefe17p-2), x, 0x1.99999999949d0p-2), x, 0x1.5555555555558p-1)
#define LN2_HIGH_F 0x1.62e400p-1f
#define LN2_LOW_F 0x1.7f7d1cp-20f
#define LOG2_E_F 0x1.715476p+0f
#define LN2_HIGH_D 0x1.62e42ff000000p-1
#define LN2_LOW_D -0x1.718432a1b0e26p-35
#define LOG2_E_D 0x1.71547652b82fep+0
